import { describe, expect, it } from 'vitest';
import { fieldOf, huntFrom, kindOf } from './huntFrom';

describe('every kind of entity has its query', () => {
  it.each([
    [{ field: 'device', value: 'web-1', id: 'd1' }, 'DeviceId == "d1"'],
    [{ field: 'device', value: 'web-1' }, 'DeviceName =~ "web-1"'],
    [{ field: 'user', value: 'ro"ot' }, 'AccountName =~ "ro\\"ot"'],
    [{ field: 'hash', value: 'A'.repeat(40) }, `SHA1 =~ "${'a'.repeat(40)}"`],
    [{ field: 'hash', value: 'a'.repeat(64) }, 'SHA256 =~'],
    [{ field: 'address', value: '10.0.0.1' }, 'RemoteIP == "10.0.0.1"'],
    [{ field: 'address', value: 'fe80::1' }, 'RemoteIP == "fe80::1"'],
    [{ field: 'address', value: 'evil.example' }, 'RemoteUrl has "evil.example"'],
    [{ field: 'file', value: '/tmp/x' }, 'FolderPath == "/tmp/x"'],
    [{ field: 'file', value: 'x' }, 'FileName == "x"'],
    [{ field: 'process', value: 'sh', id: 'k' }, 'ProcessUniqueId == "k"'],
    [{ field: 'process', value: 'sh -c id' }, 'ProcessCommandLine == "sh -c id"'],
    [{ field: 'alert', value: 'al1' }, 'AlertId == "al1"'],
  ])('%j', (entity, want) => expect(huntFrom(entity)).toContain(want));
  it('and what is none has none', () => expect(huntFrom({ field: 'severity', value: 'High' })).toBeNull());
});

it('a value never leaves its comment or its text', () => {
  const query = huntFrom({ field: 'device', value: 'a\nb' }) ?? '';
  expect(query.split('\n')[0]).toBe('// What a b did');
});

describe('columns are known by their names', () => {
  it.each([
    ['DeviceName', 'device'],
    ['InitiatingProcessAccountName', 'user'],
    ['SHA256', 'hash'],
    ['InitiatingProcessSHA1', 'hash'],
    ['RemoteIP', 'address'],
    ['InitiatingProcessRemoteSessionIP', 'address'],
    ['InitiatingProcessFileName', 'file'],
    ['ProcessCommandLine', 'process'],
    ['InitiatingProcessUniqueId', 'processKey'],
    ['count_', 'count_'],
    ['AdditionalFields', 'AdditionalFields'],
  ])('%s', (column, want) => expect(fieldOf(column)).toBe(want));
});

describe('what is typed is known by its form', () => {
  it.each([
    ['10.0.0.1', 'address'],
    ['fe80::1', 'address'],
    ['evil.example.com', 'address'],
    ['/tmp/.x', 'file'],
    ['a'.repeat(64), 'hash'],
    ['miner', null],
    ['12:30', null],
  ])('%s', (text, want) => expect(kindOf(text)).toBe(want));
});
