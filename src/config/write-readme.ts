import { readFileSync, writeFileSync } from "node:fs";
import { withOptionTable } from "./readme-options.ts";

const README = new URL("../../README.md", import.meta.url);

writeFileSync(README, withOptionTable(readFileSync(README, "utf8")));
