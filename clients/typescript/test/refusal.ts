import type { Code } from "@connectrpc/connect";
import { ConnectError } from "@connectrpc/connect";
import type { Violation } from "@splitrail/client";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "@splitrail/client/google/rpc/error_details_pb.js";

/** A refusal with the details that Splitrail's services give. */
export function refusal(
  code: Code,
  reason: string,
  given: { metadata?: Record<string, string>; violations?: Violation[]; retrySeconds?: number } = {},
): ConnectError {
  const { metadata = {}, violations, retrySeconds } = given;
  return new ConnectError(`refused: ${reason}`, code, undefined, [
    { desc: ErrorInfoSchema, value: { reason, domain: "splitrail", metadata } },
    ...(violations ? [{ desc: BadRequestSchema, value: { fieldViolations: violations } }] : []),
    ...(retrySeconds ? [{ desc: RetryInfoSchema, value: { retryDelay: { seconds: BigInt(retrySeconds) } } }] : []),
  ]);
}
