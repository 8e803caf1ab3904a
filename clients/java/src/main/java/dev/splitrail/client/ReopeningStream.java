package dev.splitrail.client;

import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.BlockingClientCall;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.BiConsumer;
import java.util.function.Predicate;
import java.util.function.Supplier;

/**
 * One kind of server stream, opened as often as it breaks. Which errors mean "open again" is what the comment of
 * MetricsService.WatchRun says.
 */
final class ReopeningStream<M> implements AutoCloseable {
  private final ManagedChannel channel;
  private final Supplier<BlockingClientCall<?, M>> opening;
  private final Predicate<Refusal> restart;
  private final BiConsumer<StatusException, Duration> interrupted;
  private final Patience patience;

  private BlockingClientCall<?, M> call;
  private long openedNanos;
  private long aliveNanos = System.nanoTime();
  private int tries;

  /**
   * @param opening opens the stream where it is to continue
   * @param restart handles CURSOR_OUT_OF_RANGE; false: end with it
   * @param interrupted is told of each interruption, and of the pause that follows
   */
  ReopeningStream(
      ManagedChannel channel,
      Supplier<BlockingClientCall<?, M>> opening,
      Predicate<Refusal> restart,
      BiConsumer<StatusException, Duration> interrupted,
      Patience patience) {
    this.channel = channel;
    this.opening = opening;
    this.restart = restart;
    this.interrupted = interrupted;
    this.patience = patience;
  }

  /**
   * The next message, of this stream or one that was opened instead.
   *
   * @throws StatusRuntimeException with the error that ends the stream for good; CANCELLED when the thread is interrupted
   */
  M next() {
    while (true) {
      try {
        if (call == null) {
          openedNanos = System.nanoTime();
          call = opening.get();
        }
        M message = call.read(patience.silence().toNanos(), TimeUnit.NANOSECONDS);
        if (message != null) {
          aliveNanos = System.nanoTime();
          return message;
        }
        broken(Status.UNAVAILABLE.withDescription("the stream ended without its last message").asException());
      } catch (TimeoutException e) {
        broken(Status.DEADLINE_EXCEEDED.withDescription("nothing was heard for " + patience.silence()).asException());
      } catch (StatusException e) {
        broken(e);
      } catch (StatusRuntimeException e) {
        broken(new StatusException(e.getStatus(), e.getTrailers()));
      } catch (InterruptedException e) {
        throw interruption(e);
      }
    }
  }

  /** What came was news: after the next interruption, pauses begin small again. */
  void progressed() {
    tries = 0;
  }

  /** Drops the stream because of what it said, and pauses; throws when the error ends it for good. */
  void broken(StatusException error) {
    close();
    Optional<Refusal> refusal = Refusal.of(error);
    if (refusal.isPresent() && refusal.get().reason().equals("CURSOR_OUT_OF_RANGE")) {
      if (restart.test(refusal.get())) {
        return;
      }
      throw runtime(error);
    }
    long now = System.nanoTime();
    if (!reopens(error.getStatus().getCode(), refusal.isPresent()) || now - aliveNanos > patience.giveUp().toNanos()) {
      throw runtime(error);
    }
    if (now - openedNanos > patience.longestPause().toNanos()) {
      tries = 0;
    }
    Duration pause = patience.pause(tries++);
    Duration asked = refusal.map(Refusal::retryAfter).orElse(Duration.ZERO);
    pause = pause.compareTo(asked) < 0 ? asked : pause;
    interrupted.accept(error, pause);
    try {
      TimeUnit.NANOSECONDS.sleep(pause.toNanos());
    } catch (InterruptedException e) {
      throw interruption(e);
    }
    channel.resetConnectBackoff(); // gRPC's own pauses grow to two minutes
  }

  /** An error without ErrorInfo comes from the transport, because a service or the gateway was killed. */
  private static boolean reopens(Status.Code code, boolean informed) {
    return switch (code) {
      case UNAUTHENTICATED, UNIMPLEMENTED -> false;
      case UNAVAILABLE, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED, ABORTED -> true;
      default -> !informed;
    };
  }

  private static StatusRuntimeException runtime(StatusException error) {
    return new StatusRuntimeException(error.getStatus(), error.getTrailers());
  }

  private StatusRuntimeException interruption(InterruptedException error) {
    close();
    Thread.currentThread().interrupt();
    return Status.CANCELLED.withDescription("the thread was interrupted").withCause(error).asRuntimeException();
  }

  @Override
  public void close() {
    if (call != null) {
      call.cancel("not needed any more", null);
      call = null;
    }
  }
}
