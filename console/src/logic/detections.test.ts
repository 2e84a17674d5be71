import { expect, it } from 'vitest';
import { actionColumns, entityChoices, missingColumns, techniquesOf, withPlaceholder } from './detections';

const columns = ['Timestamp', 'DeviceName', 'FileName', 'SHA1'].map((name) => ({ name, type: 'string' }));

it('only columns of the result are offered', () => {
  expect(entityChoices('Machine', columns)).toEqual(['DeviceName']);
  expect(entityChoices('File', columns)).toEqual(['SHA1', 'FileName']);
  expect(entityChoices('Ip', columns)).toEqual([]);
  expect(actionColumns('blockFile', columns)).toEqual(['SHA1']);
  expect(actionColumns('isolateDevice', columns)).toEqual([]);
});

it('what an alert cannot do without is named', () => {
  expect(missingColumns(columns)).toEqual(['ReportId']);
  expect(missingColumns([])).toEqual(['Timestamp', 'ReportId', 'DeviceId']);
});

it('titles and techniques are read as people write them', () => {
  expect(withPlaceholder('Shell on', 'DeviceName')).toBe('Shell on {{DeviceName}}');
  expect(withPlaceholder('', 'A')).toBe('{{A}}');
  expect(techniquesOf('t1059.004, T1053; nonsense T1')).toEqual(['T1059.004', 'T1053']);
});
