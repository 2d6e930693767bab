import { describe, expect, test } from "vitest";
import {
  decodeStagingHead,
  encodeStagingHead,
  freshStagingHead,
  hashUploadName,
  type StagingHead,
  trustedBytes,
} from "../../../src/storage/staging/staging-head.ts";

const BOOT = Buffer.alloc(16, 0xb0);
const OTHER_BOOT = Buffer.alloc(16, 0xb1);
const head: StagingHead = {
  boot: BOOT,
  name: hashUploadName("uploads/1/blobs/2/3"),
  sizeBytes: 2 ** 40 + 5,
  notedBytes: 2 ** 33 + 1,
  notedChecksum: 0xfedcba98,
};

describe("the head of a temp file", () => {
  test("is read as it was written", () => {
    const decoded = decodeStagingHead(encodeStagingHead(head));
    expect({ ...decoded, name: Buffer.from(decoded?.name ?? []) }).toEqual({ ...head, name: Buffer.from(head.name) });
  });

  test("is refused with any byte changed, and where some are missing", () => {
    const encoded = encodeStagingHead(head);
    for (let at = 0; at < encoded.length; at++) {
      const changed = Buffer.from(encoded);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(decodeStagingHead(changed), `byte ${at}`).toBeUndefined();
      expect(decodeStagingHead(encoded.subarray(0, at)), `${at} bytes`).toBeUndefined();
    }
  });

  test("is refused where more is noted than there can be", () => {
    expect(decodeStagingHead(encodeStagingHead({ ...head, sizeBytes: 10, notedBytes: 11 }))).toBeUndefined();
  });
});

describe("what is trusted of a temp file", () => {
  const small = { ...head, sizeBytes: 100, notedBytes: 40 };
  test.each([
    ["all that is there, under the kernel that took the writes", small, 70, BOOT, 70],
    ["what is noted, under another kernel", small, 70, OTHER_BOOT, 40],
    ["what is noted, where the kernel is not known", small, 70, undefined, 40],
    ["nothing where noted bytes are gone", small, 39, BOOT, 0],
    ["nothing where there is more than the blob", small, 101, BOOT, 0],
    ["nothing of unknown kernels, even if both are", freshStagingHead(head.name, 100, undefined), 70, undefined, 0],
  ])("%s", (_, of, payloadBytes, boot, expected) => {
    expect(trustedBytes(of, payloadBytes, boot)).toBe(expected);
  });
});
