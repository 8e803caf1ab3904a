package dev.splitrail.client;

import dev.splitrail.metrics.v1.ClosedReason;
import dev.splitrail.metrics.v1.MetricsServiceGrpc;
import dev.splitrail.metrics.v1.WatchRunRequest;
import dev.splitrail.metrics.v1.WatchRunResponse;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusException;
import java.time.Duration;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.function.BiConsumer;
import java.util.function.Consumer;

/**
 * The feed of a run (or of an evaluation, by its evaluation_id) until it ends: the messages of WatchRun without
 * heartbeats, the last one a closed of CLOSED_REASON_ENDED. Each event comes exactly once and in order, whatever breaks
 * in between; progress is passed on as it comes.
 *
 * <p>{@link #hasNext} blocks. It throws io.grpc.StatusRuntimeException with a refusal (NOT_FOUND, PERMISSION_DENIED,
 * ...), with what broke the stream when it stays broken for {@link Patience#giveUp}, and as CANCELLED when the thread is
 * interrupted. For one thread.
 */
public final class Watch implements Iterator<WatchRunResponse>, AutoCloseable {
  /**
   * A place in a feed.
   *
   * @param seq of the last event that was read; 0: the start
   * @param incarnation of the feed that seq counts; empty: not checked
   */
  public record Cursor(long seq, String incarnation) {
    /** The start of a feed. */
    public static final Cursor START = new Cursor(0, "");
  }

  /** What a watch may be told before it begins. */
  public static final class Builder {
    private final ManagedChannel channel;
    private final String runId;
    private Cursor after = Cursor.START;
    private Consumer<Refusal> restarted;
    private BiConsumer<StatusException, Duration> interrupted = (error, pause) -> {};
    private Patience patience = Patience.DEFAULT;

    private Builder(ManagedChannel channel, String runId) {
      this.channel = channel;
      this.runId = runId;
    }

    /** Continues after a message that was read before. */
    public Builder after(Cursor cursor) {
      after = cursor;
      return this;
    }

    /**
     * Is told when the feed has begun a new incarnation (a restore from a backup): forget every event that was read, for
     * the watch goes on from the start. Without it the watch ends with the refusal CURSOR_OUT_OF_RANGE instead, because
     * nobody would know.
     */
    public Builder onRestart(Consumer<Refusal> listener) {
      restarted = listener;
      return this;
    }

    /** Is told each time that the stream broke, and after which pause it is opened again. */
    public Builder onInterruption(BiConsumer<StatusException, Duration> listener) {
      interrupted = listener;
      return this;
    }

    /** Patience with interruptions. */
    public Builder patience(Patience value) {
      patience = value;
      return this;
    }

    /** Begins. Close the watch to end it early. */
    public Watch start() {
      return new Watch(this);
    }
  }

  private final ReopeningStream<WatchRunResponse> stream;
  private final Consumer<Refusal> restarted;
  private Cursor cursor;
  private Cursor given;
  private WatchRunResponse next;
  private boolean ended;

  /** A watch of the feed of `runId` through a channel of {@link SplitrailChannel}. */
  public static Builder of(ManagedChannel channel, String runId) {
    return new Builder(channel, runId);
  }

  private Watch(Builder builder) {
    cursor = builder.after;
    given = cursor;
    restarted = builder.restarted;
    stream =
        new ReopeningStream<>(
            builder.channel,
            () ->
                MetricsServiceGrpc.newBlockingV2Stub(builder.channel)
                    .watchRun(
                        WatchRunRequest.newBuilder()
                            .setRunId(builder.runId)
                            .setAfterSeq(cursor.seq())
                            .setIncarnation(cursor.incarnation())
                            .build()),
            this::restart,
            builder.interrupted,
            builder.patience);
  }

  /** Where to continue after the last message that {@link #next} gave. */
  public Cursor cursor() {
    return given;
  }

  @Override
  public boolean hasNext() {
    while (next == null && !ended) {
      WatchRunResponse message = stream.next();
      switch (message.getMessageCase()) {
        case EVENT -> event(message);
        case CLOSED -> closed(message);
        case HEARTBEAT -> located(message);
        default -> {
          located(message);
          next = message;
        }
      }
    }
    return next != null;
  }

  @Override
  public WatchRunResponse next() {
    if (!hasNext()) {
      throw new NoSuchElementException();
    }
    WatchRunResponse message = next;
    next = null;
    given = cursor;
    return message;
  }

  @Override
  public void close() {
    ended = true;
    next = null;
    stream.close();
  }

  private void event(WatchRunResponse message) {
    long seq = message.getEvent().getSeq();
    if (seq <= cursor.seq()) {
      return; // seen before the stream broke
    }
    if (seq != cursor.seq() + 1) {
      stream.broken(Status.ABORTED.withDescription("event " + seq + " came after " + cursor.seq()).asException());
      return;
    }
    cursor = new Cursor(seq, message.getIncarnation());
    next = message;
    stream.progressed();
  }

  private void closed(WatchRunResponse message) {
    ClosedReason reason = message.getClosed().getReason();
    if (reason != ClosedReason.CLOSED_REASON_ENDED) {
      stream.broken(Status.UNAVAILABLE.withDescription("the watch was closed: " + reason).asException());
      return;
    }
    close();
    next = message;
  }

  private void located(WatchRunResponse message) {
    cursor = new Cursor(cursor.seq(), message.getIncarnation());
  }

  private boolean restart(Refusal refusal) {
    if (restarted == null || cursor.equals(Cursor.START)) { // the start of a feed is never out of range
      return false;
    }
    cursor = Cursor.START;
    restarted.accept(refusal);
    return true;
  }
}
