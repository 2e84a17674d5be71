import { expect, it } from 'vitest';
import { LINK_TYPES, namesDevice, rowObjects, told } from './link';

const columns = ['DeviceName', 'RemoteIP', 'LocalIP', 'Src', 'Count'].map((name) => ({ name, type: 'string' }));

it('columns that are named as in the tables tell what they hold, the own address aside', () => {
  expect(LINK_TYPES.map((type) => [type, told(type, columns)])).toEqual([
    ['User', []],
    ['Process', []],
    ['File', []],
    ['Ip', ['RemoteIP']],
    ['Url', []],
  ]);
});

it('rows name a device by id or by name', () => {
  expect(namesDevice(columns)).toBe(true);
  expect(namesDevice(columns.slice(1))).toBe(false);
});

it('rows become objects without what is not there', () => {
  expect(rowObjects([['web-1', null, '', 0, false]], columns)).toEqual([
    { DeviceName: 'web-1', LocalIP: '', Src: 0, Count: false },
  ]);
});
