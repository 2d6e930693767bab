import { checkInstanceName } from "../cache/instance-name.ts";
import type { BoundMethod, CallContext } from "./transport/handler.ts";

/** The methods of each instance, by path: all of them have the same. */
export type MethodsOfInstance = (instanceName: string) => ReadonlyMap<string, BoundMethod>;

export function methodsByPath(methods: readonly BoundMethod[]): ReadonlyMap<string, BoundMethod> {
  return new Map(methods.map((method) => [method.definition.path, method]));
}

/**
 * Methods that hand each call to those of the instance that its request names.
 * @param methods Of any instance. A stream of requests stays with them: only its service knows how to begin with one.
 */
export function routeToInstances(methods: readonly BoundMethod[], methodsOf: MethodsOfInstance): BoundMethod[] {
  return methods.map((method) => {
    const { path } = method.definition;
    const methodFor = (request: unknown): BoundMethod | undefined => {
      const { instance_name } = request as { instance_name: string };
      return methodsOf(checkInstanceName(instance_name)).get(path);
    };
    switch (method.kind) {
      case "unary":
        return {
          ...method,
          handler(request: unknown, call: CallContext) {
            const own = methodFor(request);
            return (own?.kind === "unary" ? own : method).handler(request, call);
          },
        };
      case "serverStream":
        return {
          ...method,
          handler(request: unknown, call: CallContext) {
            const own = methodFor(request);
            return (own?.kind === "serverStream" ? own : method).handler(request, call);
          },
        };
      case "clientStream":
      case "duplex":
        return method;
    }
  });
}
