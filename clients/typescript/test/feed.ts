/** A metrics service that holds one feed. `Feed.openings` are the requests it got. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, type ServiceImpl } from "@connectrpc/connect";
import { ClosedReason, type MetricsService, WatchRunResponseSchema, type WatchRunRequest } from "@splitrail/client";
import { refusal } from "./refusal.js";

export class Feed {
  readonly openings: WatchRunRequest[] = [];
  incarnation = "first";
  /** Called before each message that is sent; what it throws ends the stream. */
  beforeEvent: (seq: bigint, opening: number) => void | Promise<void> = () => {};

  constructor(public length: number) {}

  readonly watchRun: NonNullable<Partial<ServiceImpl<typeof MetricsService>>["watchRun"]> = async function* (
    this: Feed,
    request: WatchRunRequest,
  ) {
    const opening = this.openings.push(request);
    if (request.incarnation !== "" && request.incarnation !== this.incarnation) {
      const metadata = { incarnation: this.incarnation, last_seq: String(this.length) };
      throw refusal(Code.OutOfRange, "CURSOR_OUT_OF_RANGE", { metadata });
    }
    yield this.message(request.afterSeq, { case: "heartbeat", value: {} });
    for (let seq = request.afterSeq + 1n; seq <= BigInt(this.length); seq++) {
      await this.beforeEvent(seq, opening);
      yield this.message(seq, { case: "event", value: { seq, payload: { case: "epoch", value: { epoch: Number(seq) } } } });
    }
    yield this.message(BigInt(this.length), { case: "closed", value: { reason: ClosedReason.ENDED } });
  }.bind(this);

  private message(cursor: bigint, message: MessageInitShape<typeof WatchRunResponseSchema>["message"]) {
    return create(WatchRunResponseSchema, { cursor, incarnation: this.incarnation, ...(message && { message }) });
  }
}

