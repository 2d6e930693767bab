import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { AccessCase } from "./access-case.ts";

const TIMEOUT_MS = 15 * 60_000;

/** What testssl.sh writes of each thing that it has looked at. */
interface Finding {
  readonly id: string;
  readonly severity: string;
  readonly finding: string;
}

/** Those below are worth mentioning, and no fault; of WARN it could not look. */
const FAULTS = ["MEDIUM", "HIGH", "CRITICAL", "FATAL"];

/** What is said of the test certificate, and not of the server. */
const EXPECTED: Readonly<Record<string, string>> = {
  cert_chain_of_trust: "it signs itself",
  cert_validityPeriod: "it is valid for as long as the tests are",
  cert_revocation: "nobody could revoke it",
};

/** Protocols that must not be offered, and those that must. */
const PROTOCOLS = { SSLv2: false, SSLv3: false, TLS1: false, TLS1_1: false, TLS1_2: true, TLS1_3: true };

export const testTls: AccessCase = {
  name: "testssl.sh: no finding of medium or worse, TLS 1.2 and 1.3 only",
  async run({ endpoint, directory }) {
    const report = join(directory, "report.json");
    await runTestssl(["--quiet", "--color", "0", "--warnings", "batch", "--jsonfile", report, endpoint]);
    const findings = JSON.parse(readFileSync(report, "utf8")) as Finding[];
    const faults = findings.filter(({ id, severity }) => FAULTS.includes(severity) && !(id in EXPECTED));
    const problems = faults.map(({ id, severity, finding }) => `${severity} ${id}: ${finding}`);
    for (const [protocol, isOffered] of Object.entries(PROTOCOLS)) {
      const found = findings.find(({ id }) => id === protocol)?.finding ?? "nothing was said of it";
      if (found.startsWith("offered") !== isOffered) problems.push(`${protocol}: ${found}`);
    }
    console.log(`testssl.sh: ${findings.length} findings`);
    return problems;
  },
};

/** Its exit code says how much it has found, which the report says better. */
function runTestssl(args: readonly string[]): Promise<void> {
  return new Promise((resolve) => {
    const child = execFile("testssl", args, { timeout: TIMEOUT_MS, maxBuffer: 64 * 1024 * 1024 }, () => resolve());
    process.once("exit", () => child.kill());
  });
}
