/** Where a chunk ends, which depends on the bytes around that place and not on what lies far before or behind it. */
export interface CutRule {
  /** How many bytes from the start of a chunk on decide where it ends. */
  readonly windowBytes: number;
  /**
   * Asked for the chunks of one content in their order.
   * @param end from `start`, {@link windowBytes} further on, or the end of the data where that is nearer.
   * @returns where the chunk ends that begins at `start`: at most `end`.
   */
  cut(bytes: Uint8Array, start: number, end: number): number;
}
