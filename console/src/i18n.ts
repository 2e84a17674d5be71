import i18next from 'i18next';
import { en } from './i18n/en';

void i18next.init({
  lng: 'en',
  fallbackLng: 'en',
  resources: { en: { translation: en } },
  // React escapes what it prints.
  interpolation: { escapeValue: false },
  initAsync: false,
});

type Leaves<T, P extends string = ''> = {
  [K in keyof T & string]: T[K] extends string ? `${P}${K}` : Leaves<T[K], `${P}${K}.`>;
}[keyof T & string];

type Plural<K extends string> = K extends `${infer B}_one` ? B : K extends `${infer B}_other` ? B : K;

/** Every key of the English texts; a key that does not exist does not compile. */
export type TextKey = Plural<Leaves<typeof en>>;

export function t(key: TextKey, values?: Record<string, string | number>): string {
  return i18next.t(key, values ?? {}) as string;
}
