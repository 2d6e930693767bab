/**
 * `npm run test:deploy`: what is in `deploy/`, by the tools that it is for: promtool, systemd-analyze, docker-compose
 * (without a daemon), Kubernetes' schemas, and the steps of the image by hand. What it needs it installs from Debian's
 * packages and npm. In the end "N passed, N failed".
 */
import { installPrograms } from "../support/debian-packages.ts";
import { DEPLOY_CASES } from "./deploy-cases.ts";

const NAME_WIDTH = 74;

for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

installPrograms([
  { program: "promtool", packages: ["prometheus"] },
  { program: "systemd-analyze", packages: ["systemd"] },
  { program: "systemd-socket-activate", packages: ["systemd"] },
  { program: "systemd-notify", packages: ["systemd"] },
  { program: "python3", packages: ["python3"] },
  { program: "docker-compose", packages: ["docker-compose"] },
  { program: "setpriv", packages: ["util-linux"] },
]);

let passed = 0;
for (const { name, run } of DEPLOY_CASES) {
  const problems = await run().catch((error: unknown) => [String(error)]);
  if (problems.length === 0) passed++;
  console.log(`${name.padEnd(NAME_WIDTH)}${problems.length === 0 ? "ok" : "BAD"}`);
  for (const problem of problems) console.log(`  BAD ${problem}`);
}
const failed = DEPLOY_CASES.length - passed;
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
