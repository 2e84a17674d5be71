/** The page is never so many keys behind; each is a whole text in memory. */
const ECHOES_MAX = 200;

/**
 * Tells a text that the page sets from the echo of one that was typed: the page shows what the editor told it a moment
 * later, and where more was typed in between, taking that for news would undo the typing.
 */
export class Echoes {
  private readonly told = new Set<string>();

  tell(text: string): void {
    if (this.told.size >= ECHOES_MAX) this.told.clear();
    this.told.add(text);
  }

  forget(): void {
    this.told.clear();
  }

  /** Whether `shown`, which the page has now, must replace what stands in the editor. */
  replaces(editor: string, shown: string): boolean {
    if (editor === shown) {
      this.told.clear();
      return false;
    }
    return !this.told.has(shown);
  }
}
