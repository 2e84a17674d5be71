import {
  type BrandVariants,
  createDarkTheme,
  createLightTheme,
  type Theme,
  teamsHighContrastTheme,
} from '@fluentui/react-components';
import { useEffect, useState } from 'react';
import { type ThemeName, usePrefs } from './prefs';

const brand: BrandVariants = {
  10: '#02151b',
  20: '#06222b',
  30: '#07303d',
  40: '#083e4f',
  50: '#094c60',
  60: '#0a5a71',
  70: '#0c6580',
  80: '#0e7090',
  90: '#1a80a2',
  100: '#3191b3',
  110: '#48a2c3',
  120: '#62b3d2',
  130: '#7dc4e0',
  140: '#9bd4ec',
  150: '#bbe4f5',
  160: '#dcf2fb',
};

const light: Theme = {
  ...createLightTheme(brand),
  colorNeutralForeground3: '#57606a',
  colorNeutralForeground4: '#57606a',
};
const dark: Theme = {
  ...createDarkTheme(brand),
  colorBrandForeground1: brand[120],
  colorBrandForeground2: brand[130],
  colorBrandForegroundLink: brand[130],
  colorNeutralBackground1: '#171b21',
  colorNeutralBackground2: '#12161b',
  colorNeutralBackground3: '#0d1014',
  colorNeutralBackground4: '#0a0d10',
  colorNeutralBackground1Hover: '#222831',
  colorNeutralBackground1Selected: '#1c3440',
  colorNeutralStroke1: '#46505c',
  colorNeutralStroke2: '#2c333c',
  colorNeutralStroke3: '#242a32',
  colorNeutralForeground4: '#a6adb8',
};

function usePrefersDark(): boolean {
  const [query] = useState(() => window.matchMedia('(prefers-color-scheme: dark)'));
  const [prefers, setPrefers] = useState(query.matches);
  useEffect(() => {
    const change = () => setPrefers(query.matches);
    query.addEventListener('change', change);
    return () => query.removeEventListener('change', change);
  }, [query]);
  return prefers;
}

export function useTheme(): { theme: Theme; name: Exclude<ThemeName, 'system'> } {
  const chosen = usePrefs().theme;
  const prefersDark = usePrefersDark();
  const name = chosen === 'system' ? (prefersDark ? 'dark' : 'light') : chosen;
  return { name, theme: name === 'dark' ? dark : name === 'contrast' ? teamsHighContrastTheme : light };
}
