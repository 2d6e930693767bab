/**
 * `npm run test:access`: what TLS and roles look like to those who have them to deal with: testssl.sh against the port,
 * and builds of a real Bazel with the token of a writer and of a reader. What it needs it installs from Debian's packages.
 * Prints a line for each, and in the end "N passed, N failed".
 */
import { hash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { installPrograms } from "../support/debian-packages.ts";
import { ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import { TEST_CERTIFICATE, TEST_KEY } from "../support/test-certificate.ts";
import { BAZEL_CASES } from "./bazel-cases.ts";
import { testTls } from "./testssl-case.ts";

const NAME_WIDTH = 60;

for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

installPrograms([
  { program: "testssl", packages: ["testssl.sh"] },
  { program: "bazel", packages: ["bazel-bootstrap"] },
]);

await using storage = await makeTemporaryDirectory("access");

function file(name: string, content: string): string {
  const path = join(storage.path, name);
  writeFileSync(path, content.trimStart());
  return path;
}

const certificate = file("cert.pem", TEST_CERTIFICATE);
const tokens = ["ci", "dev"].map((name) => `${name}:${hash("sha256", `${name}-token`)}\n`).join("");
await using server = await ServerProcess.start({
  directory: join(storage.path, "data"),
  extraArguments: ["--tls-cert", certificate, "--tls-key", file("key.pem", TEST_KEY)].concat(
    ["--auth-tokens", file("tokens", tokens)],
    ["--auth-rules", file("rules", "- { token: ci, role: ac-writer }\n- { token: dev, role: reader }\n")],
  ),
});
const endpoint = server.endpoint.replace(/^.*:/, "localhost:");

let passed = 0;
let failed = 0;
for (const each of [testTls, ...BAZEL_CASES]) {
  await using directory = await makeTemporaryDirectory("access-case");
  const around = { endpoint, certificate, directory: directory.path };
  const problems = await each.run(around).catch((error: unknown) => [String(error)]);
  if (problems.length === 0) passed++;
  else failed++;
  console.log(`${each.name.padEnd(NAME_WIDTH)}${problems.length === 0 ? "ok" : "BAD"}`);
  for (const problem of problems) console.log(`  BAD  ${problem}`);
}
await server.stop();
if (failed > 0) console.log(`the server printed:\n${server.output}`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
