import { describe, expect, it } from 'vitest';
import type { DeviceGroup } from '../api/access';
import { idOf, rights, signInAddress, stepped, usable } from './access';

const group = (id: string, rank: number): DeviceGroup => ({
  id,
  name: id,
  description: '',
  rank,
  rules: [],
  automationLevel: 'SemiAll',
  deviceCount: 0,
});

describe('access', () => {
  it('makes an address of a link, and leaves an address alone', () => {
    expect(signInAddress('a+b', 'https://x')).toBe('https://x/sign-in?link=a%2Bb');
    expect(signInAddress('https://y/z', 'https://x')).toBe('https://y/z');
  });
  it('makes ids that are free', () => {
    expect(idOf('Web servers (EU)', [])).toBe('web-servers-eu');
    expect(idOf('Web', ['web', 'web-2'])).toBe('web-3');
    expect(idOf('Preview', [])).toBe('preview-2');
    expect(idOf('!!', [])).toBe('group');
  });
  it('moves groups within the ranked ones', () => {
    const groups = [group('b', 2), group('a', 1), group('ungrouped', 3)];
    expect(stepped(groups, 'a', -1)).toBe(null);
    expect(stepped(groups, 'a', 1)).toBe(2);
    expect(stepped(groups, 'b', 1)).toBe(null);
    expect(stepped(groups, 'b', -1)).toBe(1);
    expect(stepped(groups, 'ungrouped', -1)).toBe(null);
  });
  it('sends only rules with a value', () => {
    const rules = [
      { property: 'name', operator: 'equals', value: ' a ' },
      { property: 'tag', operator: 'equals', value: ' ' },
    ] as const;
    expect(usable(rules)).toEqual([{ property: 'name', operator: 'equals', value: 'a' }]);
  });
  it('says which roles give an action', () => {
    const role = (name: string, actions: string[]) => ({ name, title: '', builtIn: true, actions });
    expect(rights([role('a', ['x']), role('b', ['y']), role('c', ['x', 'y'])], 'x')).toEqual(['a', 'c']);
  });
});
