import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

it("finds the descriptors that the process may open", () => {
  const module = fileURLToPath(new URL("../../src/config/descriptor-limit.ts", import.meta.url));
  const print = `import(${JSON.stringify(module)}).then((m) => console.log(m.descriptorLimit()))`;
  const shell = `ulimit -n 123; exec "$0" --disable-warning=ExperimentalWarning --eval '${print}'`;
  expect(execFileSync("sh", ["-c", shell, process.execPath], { encoding: "utf8" })).toBe("123\n");
});
