package dev.splitrail.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.splitrail.metrics.v1.Closed;
import dev.splitrail.metrics.v1.ClosedReason;
import dev.splitrail.metrics.v1.EpochMetrics;
import dev.splitrail.metrics.v1.FeedEvent;
import dev.splitrail.metrics.v1.Heartbeat;
import dev.splitrail.metrics.v1.MetricsServiceGrpc;
import dev.splitrail.metrics.v1.WatchRunRequest;
import dev.splitrail.metrics.v1.WatchRunResponse;
import io.grpc.ManagedChannel;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.LongStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

@Timeout(30)
class WatchTest {
  private static final long LAST = 5;

  private final Servers servers = new Servers();

  @AfterEach
  void close() {
    servers.close();
  }

  /** What an opening of the watch answers. */
  interface Script {
    void answer(WatchRunRequest request, StreamObserver<WatchRunResponse> answers);
  }

  /** Answers the n-th opening by the n-th script, and further ones by the last. */
  static final class MetricsServer extends MetricsServiceGrpc.MetricsServiceImplBase {
    final List<WatchRunRequest> requests = new ArrayList<>();
    private final List<Script> scripts;

    MetricsServer(Script... scripts) {
      this.scripts = List.of(scripts);
    }

    @Override
    public void watchRun(WatchRunRequest request, StreamObserver<WatchRunResponse> answers) {
      Script script;
      synchronized (requests) {
        script = scripts.get(Math.min(requests.size(), scripts.size() - 1));
        requests.add(request);
      }
      script.answer(request, answers);
    }
  }

  private static WatchRunResponse.Builder message(long cursor) {
    return WatchRunResponse.newBuilder().setCursor(cursor).setIncarnation("one");
  }

  private static void send(StreamObserver<WatchRunResponse> answers, long from, long until) {
    for (long seq = from; seq <= until; seq++) {
      FeedEvent event = FeedEvent.newBuilder().setSeq(seq).setEpoch(EpochMetrics.newBuilder().setEpoch((int) seq)).build();
      answers.onNext(message(seq).setEvent(event).build());
    }
    if (until == LAST) {
      answers.onNext(closed(until, ClosedReason.CLOSED_REASON_ENDED));
    }
  }

  private static WatchRunResponse closed(long cursor, ClosedReason reason) {
    return message(cursor).setClosed(Closed.newBuilder().setReason(reason)).build();
  }

  /** Sends the events after the request's cursor up to `until`, and ends with `error` (null: none). */
  private static Script replay(long until, StatusRuntimeException error) {
    return (request, answers) -> {
      answers.onNext(message(request.getAfterSeq()).setHeartbeat(Heartbeat.getDefaultInstance()).build());
      send(answers, request.getAfterSeq() + 1, until);
      if (error == null) {
        answers.onCompleted();
      } else {
        answers.onError(error);
      }
    };
  }

  /** What a caller of Watch sees. */
  private static final class Seen {
    final List<Long> seqs = new ArrayList<>();
    final AtomicInteger interruptions = new AtomicInteger();
    final AtomicInteger restarts = new AtomicInteger();
    boolean ended;

    Seen read(Watch.Builder builder, Duration silence, Duration giveUp) {
      builder
          .onInterruption((error, pause) -> interruptions.incrementAndGet())
          .patience(new Patience(silence, Duration.ofMillis(1), Duration.ofMillis(20), giveUp));
      try (Watch watch = builder.start()) {
        while (watch.hasNext()) {
          WatchRunResponse message = watch.next();
          if (message.hasEvent()) {
            seqs.add(message.getEvent().getSeq());
            assertEquals(new Watch.Cursor(message.getCursor(), "one"), watch.cursor());
          }
          ended = message.hasClosed();
        }
      }
      return this;
    }

    Seen read(Watch.Builder builder) {
      return read(builder, Duration.ofSeconds(30), Duration.ofMinutes(5));
    }

    void expectEachOnce() {
      assertTrue(ended);
      assertEquals(LongStream.rangeClosed(1, LAST).boxed().toList(), seqs);
    }
  }

  private ManagedChannel serve(MetricsServer server) throws IOException {
    String name = "watch-" + System.identityHashCode(server);
    servers.start(name, server);
    return servers.channel(name);
  }

  static Stream<Script> passing() {
    Script draining =
        (request, answers) -> {
          send(answers, 1, 2);
          answers.onNext(closed(2, ClosedReason.CLOSED_REASON_DRAINING));
          answers.onCompleted();
        };
    Script gap =
        (request, answers) -> {
          send(answers, 1, 2);
          send(answers, 4, 4);
          answers.onCompleted();
        };
    return Stream.of(
        replay(2, Status.INTERNAL.asRuntimeException()),
        replay(2, Status.UNKNOWN.asRuntimeException()),
        replay(2, Status.CANCELLED.asRuntimeException()),
        replay(2, Status.UNAVAILABLE.asRuntimeException()),
        replay(2, Servers.refusal(Status.Code.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")),
        replay(2, Servers.refusal(Status.Code.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW")),
        replay(2, Servers.refusal(Status.Code.DEADLINE_EXCEEDED, "DEPENDENCY_UNAVAILABLE")),
        replay(2, Servers.refusal(Status.Code.ABORTED, "ATTEMPT_FENCED")),
        replay(2, null),
        draining,
        gap);
  }

  @ParameterizedTest
  @MethodSource("passing")
  void opensAgainFromTheCursor(Script first) throws IOException {
    MetricsServer server = new MetricsServer(first, replay(LAST, null));
    Seen seen = new Seen().read(Watch.of(serve(server), "a-run"));
    seen.expectEachOnce();
    assertEquals(1, seen.interruptions.get());
    assertEquals(2, server.requests.get(1).getAfterSeq());
    assertEquals("one", server.requests.get(1).getIncarnation());
  }

  @Test
  void passesOverEventsThatComeAgain() throws IOException {
    MetricsServer server = new MetricsServer(replay(3, null), (request, answers) -> send(answers, 1, LAST));
    new Seen().read(Watch.of(serve(server), "a-run")).expectEachOnce();
  }

  @Test
  void outlivesAKilledServer() throws Exception {
    CountDownLatch sent = new CountDownLatch(1);
    Script hang =
        (request, answers) -> {
          send(answers, 1, 3);
          sent.countDown();
        };
    Server first = servers.start("killed", new MetricsServer(hang));
    Thread killer =
        new Thread(
            () -> {
              try {
                sent.await();
                first.shutdownNow().awaitTermination();
                servers.start("killed", new MetricsServer(replay(LAST, null)));
              } catch (IOException | InterruptedException e) {
                throw new IllegalStateException(e);
              }
            });
    ManagedChannel channel = servers.channel("killed");
    killer.start();
    Seen seen = new Seen().read(Watch.of(channel, "a-run"));
    killer.join();
    seen.expectEachOnce();
    assertTrue(seen.interruptions.get() > 0);
  }

  @Test
  void dropsASilentStream() throws IOException {
    MetricsServer server = new MetricsServer((request, answers) -> send(answers, 1, 1), replay(LAST, null));
    new Seen().read(Watch.of(serve(server), "a-run"), Duration.ofMillis(300), Duration.ofMinutes(5)).expectEachOnce();
  }

  static Stream<StatusRuntimeException> lasting() {
    return Stream.of(
        Servers.refusal(Status.Code.NOT_FOUND, "NOT_FOUND"),
        Servers.refusal(Status.Code.INVALID_ARGUMENT, "INVALID_FIELD"),
        Servers.refusal(Status.Code.PERMISSION_DENIED, "ROLE_MISSING"),
        Servers.refusal(Status.Code.UNAUTHENTICATED, "TOKEN_INVALID"),
        Status.UNAUTHENTICATED.asRuntimeException(),
        Status.UNIMPLEMENTED.asRuntimeException(),
        Servers.refusal(Status.Code.INTERNAL, "INTERNAL"),
        Servers.refusal(Status.Code.OUT_OF_RANGE, "CURSOR_OUT_OF_RANGE")); // nobody listens for restarts
  }

  @ParameterizedTest
  @MethodSource("lasting")
  void stops(StatusRuntimeException answer) throws IOException {
    MetricsServer server = new MetricsServer(replay(2, answer));
    ManagedChannel channel = serve(server);
    StatusRuntimeException error =
        assertThrows(StatusRuntimeException.class, () -> new Seen().read(Watch.of(channel, "a-run")));
    assertEquals(answer.getStatus().getCode(), error.getStatus().getCode());
    assertEquals(Refusal.of(answer).map(Refusal::reason), Refusal.of(error).map(Refusal::reason));
    assertEquals(1, server.requests.size());
  }

  @Test
  void givesUpAfterATime() throws IOException {
    MetricsServer server =
        new MetricsServer((request, answers) -> answers.onError(Status.UNAVAILABLE.asRuntimeException()));
    ManagedChannel channel = serve(server);
    Seen seen = new Seen();
    assertThrows(
        StatusRuntimeException.class,
        () -> seen.read(Watch.of(channel, "a-run"), Duration.ofSeconds(30), Duration.ofMillis(100)));
    assertTrue(seen.interruptions.get() > 1);
  }

  @Test
  void startsFromTheBeginningInANewIncarnation() throws IOException {
    StatusRuntimeException outOfRange = Servers.refusal(Status.Code.OUT_OF_RANGE, "CURSOR_OUT_OF_RANGE");
    MetricsServer server =
        new MetricsServer((request, answers) -> answers.onError(outOfRange), replay(LAST, null));
    Seen seen = new Seen();
    Watch.Builder builder =
        Watch.of(serve(server), "a-run")
            .after(new Watch.Cursor(3, "zero"))
            .onRestart(refusal -> seen.restarts.incrementAndGet());
    seen.read(builder).expectEachOnce();
    assertEquals(1, seen.restarts.get());
    assertEquals(0, server.requests.get(1).getAfterSeq());
    assertEquals("", server.requests.get(1).getIncarnation());
  }

  @Test
  void endsWhenItIsClosed() throws IOException {
    Watch watch = Watch.of(serve(new MetricsServer(replay(LAST, null))), "a-run").start();
    watch.next();
    watch.close();
    assertFalse(watch.hasNext());
  }

  @Test
  void endsWhenTheThreadIsInterrupted() throws Exception {
    CountDownLatch sent = new CountDownLatch(1);
    MetricsServer server =
        new MetricsServer(
            (request, answers) -> {
              send(answers, 1, 1);
              sent.countDown();
            });
    ManagedChannel channel = serve(server);
    Thread reader = Thread.currentThread();
    Thread interrupter =
        new Thread(
            () -> {
              try {
                sent.await();
                reader.interrupt();
              } catch (InterruptedException e) {
                throw new IllegalStateException(e);
              }
            });
    interrupter.start();
    StatusRuntimeException error =
        assertThrows(StatusRuntimeException.class, () -> new Seen().read(Watch.of(channel, "a-run")));
    assertTrue(Thread.interrupted()); // it stays set for the caller
    interrupter.join();
    assertEquals(Status.Code.CANCELLED, error.getStatus().getCode());
  }
}
