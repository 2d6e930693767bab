import { Authorizer, type RefusalKind } from "../auth/authorizer.ts";
import { CredentialAuthenticator } from "../auth/credential-authenticator.ts";
import type { CredentialFiles } from "../auth/credential-files.ts";
import type { JwtVerifierOptions } from "../auth/jwt-verifier.ts";
import { PasswordPool } from "../auth/password-pool.ts";
import type { Clock } from "../clock.ts";
import { type Config, hasCredentials } from "../config.ts";

export interface AccessControlOptions {
  readonly config: Config;
  readonly files: CredentialFiles;
  readonly clock: Clock;
  readonly onRefused: (kind: RefusalKind) => void;
}

/** The authorizer of a listener, which goes on when the files behind it change. */
export class AccessControl implements AsyncDisposable {
  /** Undefined where everybody may do everything. */
  readonly authorizer: Authorizer | undefined;
  readonly #options: AccessControlOptions;
  readonly #passwords = new PasswordPool();
  #authenticator: CredentialAuthenticator;

  /** @throws {Error} for a file that says nothing sound. */
  constructor(options: AccessControlOptions) {
    const { config, files, onRefused } = options;
    this.#options = options;
    this.#authenticator = this.#authenticatorFor(files);
    const isOpen = !hasCredentials(config) && config.anonymousRole === "admin";
    const authenticator = {
      identify: (...shown: Parameters<CredentialAuthenticator["identify"]>) => this.#authenticator.identify(...shown),
    };
    this.authorizer = isOpen ? undefined : new Authorizer({ authenticator, onRefused });
  }

  /** What was found out by the files before holds no longer. @throws {Error} and leaves everything as it is. */
  use(files: CredentialFiles): void {
    const next = this.#authenticatorFor(files);
    this.#authenticator.retire();
    this.#authenticator = next;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#passwords[Symbol.asyncDispose]();
  }

  #authenticatorFor(files: CredentialFiles): CredentialAuthenticator {
    const { config, clock } = this.#options;
    const { authenticatedRole, anonymousRole } = config;
    return new CredentialAuthenticator({
      files,
      jwt: jwtOptions(config, files),
      authenticatedRole,
      anonymousRole,
      passwords: this.#passwords,
      clock,
    });
  }
}

function jwtOptions(
  { jwtKeysAt, jwtIssuer, jwtAudience }: Config,
  files: CredentialFiles,
): JwtVerifierOptions | undefined {
  const keys = jwtKeysAt?.url === undefined ? files.jwtKeys : new URL(jwtKeysAt.url);
  // The options are checked together: where there are keys, there are the others.
  if (keys === undefined || jwtIssuer === undefined || jwtAudience === undefined) return undefined;
  return { keys, issuer: jwtIssuer, audience: jwtAudience };
}
