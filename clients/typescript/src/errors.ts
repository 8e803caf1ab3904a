import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import type { ErrorReason } from "./gen/splitrail/errors/v1/error_reason_pb.js";

/** The names of ErrorReason, as ErrorInfo.reason has them: `INVALID_FIELD`, `NOT_FOUND`, ... */
export type Reason = Exclude<keyof typeof ErrorReason, "UNSPECIFIED">;

/** A field of the request, named by its path, and the rule that it breaks. */
export interface Violation {
  readonly field: string;
  readonly description: string;
}

/**
 * Any error of a call. Branch on `reason`, never on the message. A reason of "" means that neither a service nor the
 * gateway answered: the error comes from the connection.
 */
export class SplitrailError extends Error {
  /** A name of ErrorReason; a service that is newer than this package may give others. */
  readonly reason: Reason | "" | (string & {});
  /** What ErrorReason says that the reason carries: `type`, `id`, ... */
  readonly metadata: Readonly<Record<string, string>>;
  /** With INVALID_FIELD: each field that breaks a rule. */
  readonly violations: readonly Violation[];
  /** How long to wait before trying again, when the service says so; otherwise 0. */
  readonly retryDelayMs: number;

  constructor(
    message: string,
    readonly code: Code,
    details: Partial<Pick<SplitrailError, "reason" | "metadata" | "violations" | "retryDelayMs" | "cause">> = {},
  ) {
    super(message, { cause: details.cause });
    this.name = "SplitrailError";
    this.reason = details.reason ?? "";
    this.metadata = details.metadata ?? {};
    this.violations = details.violations ?? [];
    this.retryDelayMs = details.retryDelayMs ?? 0;
  }

  /** What a call threw, with the details of its status decoded. */
  static from(error: unknown): SplitrailError {
    if (error instanceof SplitrailError) {
      return error;
    }
    const status = ConnectError.from(error);
    const info = status.findDetails(ErrorInfoSchema)[0];
    const delay = status.findDetails(RetryInfoSchema)[0]?.retryDelay;
    return new SplitrailError(status.rawMessage, status.code, {
      reason: info?.reason ?? "",
      metadata: info?.metadata ?? {},
      violations: status
        .findDetails(BadRequestSchema)
        .flatMap((bad) => bad.fieldViolations.map(({ field, description }) => ({ field, description }))),
      retryDelayMs: delay ? Number(delay.seconds) * 1000 + delay.nanos / 1e6 : 0,
      cause: error,
    });
  }
}
