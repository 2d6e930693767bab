/** An instance, as a store that keeps accounts knows it. */
export interface EntryOwner {
  /** What {@link EntryKey.owner} is of the keys that its uploads are filed under. */
  readonly number: number;
  /** The instance reads or writes: it is in use. */
  noteUse(): void;
  /**
   * Asks for room in the quota, which is made of what the instance has had longest. No promise where there is room.
   * @throws {CacheError} resource_exhausted where all that it has is leased, or the quota is smaller than this.
   */
  admit(sizeBytes: number): Promise<void> | undefined;
}

/** A store that keeps accounts of what is stored for whom. */
export interface OwnerRegister {
  /**
   * Who an instance is to the store.
   * @param isNew Whether it becomes somebody with this, where it is nobody yet.
   * @returns undefined where it is nobody.
   */
  ownerOf(instanceName: string, isNew: boolean): Promise<EntryOwner | undefined>;
}
