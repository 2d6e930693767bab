/**
 * `npm run test:interop`: clients that others wrote against a real server, plain and over TLS. What it needs it installs
 * from Debian's packages. Prints a table, and in the end "N passed, N failed".
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { installPrograms } from "../support/debian-packages.ts";
import { ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import { TEST_CERTIFICATE, TEST_KEY } from "../support/test-certificate.ts";
import { INTEROP_CASES, type InteropCase, type Surroundings } from "./interop-cases.ts";

const NAME_WIDTH = 50;

for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

installPrograms([
  { program: "curl", packages: ["curl"] },
  { program: "nghttp", packages: ["nghttp2-client"] },
  { program: "h2load", packages: ["nghttp2-client"] },
  { program: "python3-grpcio", packages: ["python3-grpcio"], probe: "/usr/bin/python3 -c 'import grpc'" },
]);

let passed = 0;
let failed = 0;

function report(name: string, security: string, problems: readonly string[], seen: string): void {
  if (problems.length === 0) passed++;
  else failed++;
  console.log(`${name.padEnd(NAME_WIDTH)}${security.padEnd(7)}${problems.length === 0 ? "ok  " : "BAD "}  ${seen}`);
  for (const problem of problems) console.log(`  BAD ${problem}`);
}

async function runCase(each: InteropCase, around: Surroundings, security: string): Promise<void> {
  const failure = (error: unknown) => ({ problems: [String(error)], seen: "" });
  const { problems, seen } = await each.run(around).catch(failure);
  report(each.name, security, problems, seen);
}

for (const security of ["plain", "TLS"]) {
  await using directory = await makeTemporaryDirectory(`interop-${security}`);
  const [certificate, key] = [join(directory.path, "cert.pem"), join(directory.path, "key.pem")];
  writeFileSync(certificate, TEST_CERTIFICATE.trimStart());
  writeFileSync(key, TEST_KEY.trimStart());
  const isSecure = security === "TLS";
  await using server = await ServerProcess.start({
    directory: join(directory.path, "data"),
    extraArguments: isSecure ? ["--tls-cert", certificate, "--tls-key", key] : [],
  });
  const endpoint = server.endpoint.replace(/^.*:/, "localhost:");
  const around = { endpoint, certificate: isSecure ? certificate : undefined, directory: directory.path };
  for (const each of INTEROP_CASES) await runCase(each, around, security);
  const problem = await server.stop().then(
    () => undefined,
    (error: unknown) => String(error),
  );
  report("the server drains and exits 0", security, problem === undefined ? [] : [problem], "");
  if (failed > 0) console.log(`the server printed:\n${server.output}`);
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
