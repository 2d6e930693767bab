// What a project of the workspace builds: `node build.mjs ROUNDS` writes ROUNDS * 64 bytes that follow from its source.
import { createHash } from "node:crypto";
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";

const source = readFileSync("src/index.js");
const rounds = Array.from({ length: Number(process.argv[2]) }, (_, round) =>
  createHash("sha512").update(source).update(String(round)).digest(),
);
mkdirSync("dist/sub", { recursive: true });
writeFileSync("dist/index.bin", Buffer.concat(rounds));
writeFileSync("dist/sub/source.js", source);
appendFileSync(process.env.BUILT_LOG, `${process.cwd()}\n`);
console.log(`built ${rounds.length} rounds`);
