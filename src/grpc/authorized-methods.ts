import type { Authorizer } from "../auth/authorizer.ts";
import { Caller } from "../auth/caller.ts";
import { accessOf, type MethodAccess } from "./method-access.ts";
import { instanceOfResourceName } from "./resource-name.ts";
import type { BoundMethod, CallContext, RequestStream } from "./transport/handler.ts";
import type { CallAdmission } from "./transport/transport-options.ts";

/** Whoever calls what is open to anybody, whatever it shows. */
const NOBODY = new Caller({ grants: [] });

/** Lets callers in by their header fields, who may call the method in some instance at least. */
export function callAdmission(authorizer: Authorizer): CallAdmission {
  return {
    admit: (path, shown) => {
      const { role } = accessOf(path);
      return role === "none" ? NOBODY : authorizer.admit(role, undefined, shown);
    },
  };
}

/** The same methods for callers who are let in: the handler is called for an instance in which they may call it. */
export function authorizedMethods(methods: readonly BoundMethod[], authorizer: Authorizer): BoundMethod[] {
  return methods.map((method) => {
    const access = accessOf(method.definition.path);
    return access.instanceIn === undefined ? method : authorizedMethod(method, access, authorizer);
  });
}

function authorizedMethod(method: BoundMethod, access: MethodAccess, authorizer: Authorizer): BoundMethod {
  const check = (request: unknown, call: CallContext): void =>
    authorizer.check(call.caller, access.role, instanceOf(request, access));
  const { kind } = method;
  const handler = method.handler as (request: unknown, call: CallContext) => unknown;
  // Each handler stays of its kind.
  if (kind === "unary" || kind === "serverStream") {
    const checked = (request: unknown, call: CallContext): unknown => {
      check(request, call);
      return handler(request, call);
    };
    return { ...method, handler: checked } as BoundMethod;
  }
  const checked = (requests: RequestStream<unknown>, call: CallContext): unknown =>
    handler(new CheckedRequests(requests, (first) => check(first, call)), call);
  return { ...method, handler: checked } as BoundMethod;
}

/** Looks at the first request before the handler has it. */
class CheckedRequests implements RequestStream<unknown>, AsyncIterator<unknown, undefined> {
  readonly #requests: RequestStream<unknown>;
  readonly #check: (first: unknown) => void;
  #iterator: AsyncIterator<unknown, undefined> | undefined;
  #isChecked = false;

  constructor(requests: RequestStream<unknown>, check: (first: unknown) => void) {
    this.#requests = requests;
    this.#check = check;
  }

  /** Once the first request has been seen there is nothing left to do here. */
  [Symbol.asyncIterator](): AsyncIterator<unknown, undefined> {
    this.#iterator ??= this.#requests[Symbol.asyncIterator]();
    return this.#isChecked ? this.#iterator : this;
  }

  takeReady(): unknown {
    const request = this.#requests.takeReady();
    if (request !== undefined && !this.#isChecked) this.#checkFirst(request);
    return request;
  }

  offerTo(consumer: (request: unknown) => boolean): void {
    if (this.#isChecked) this.#requests.offerTo(consumer);
    // The first one waits to be taken, and is checked then.
    else this.#requests.offerTo((request) => this.#isChecked && consumer(request));
  }

  next(): Promise<IteratorResult<unknown, undefined>> {
    this.#iterator ??= this.#requests[Symbol.asyncIterator]();
    const next = this.#iterator.next();
    return this.#isChecked ? next : next.then(this.#checkResult);
  }

  return(): Promise<IteratorResult<unknown, undefined>> {
    return this.#iterator?.return?.() ?? Promise.resolve({ done: true, value: undefined });
  }

  readonly #checkResult = (result: IteratorResult<unknown, undefined>): IteratorResult<unknown, undefined> => {
    if (result.done !== true && !this.#isChecked) this.#checkFirst(result.value);
    return result;
  };

  #checkFirst(request: unknown): void {
    this.#check(request);
    this.#isChecked = true;
  }
}

function instanceOf(request: unknown, { instanceIn }: MethodAccess): string {
  return instanceIn === "resource_name"
    ? instanceOfResourceName((request as { resource_name: string }).resource_name)
    : (request as { instance_name: string }).instance_name;
}
