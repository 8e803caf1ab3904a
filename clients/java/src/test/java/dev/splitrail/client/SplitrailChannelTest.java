package dev.splitrail.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Any;
import com.google.rpc.BadRequest;
import com.google.rpc.Code;
import com.google.rpc.ErrorInfo;
import dev.splitrail.trainer.v1.CreateRunRequest;
import dev.splitrail.trainer.v1.CreateRunResponse;
import dev.splitrail.trainer.v1.Run;
import dev.splitrail.trainer.v1.RunServiceGrpc;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(30)
class SplitrailChannelTest {
  private final Servers servers = new Servers();

  @AfterEach
  void close() {
    servers.close();
  }

  /** Fails the first calls and keeps what it was asked. */
  static final class RunServer extends RunServiceGrpc.RunServiceImplBase implements ServerInterceptor {
    final List<CreateRunRequest> requests = new ArrayList<>();
    final List<String> tokens = new ArrayList<>();
    private final List<StatusRuntimeException> failures;

    RunServer(StatusRuntimeException... failures) {
      this.failures = List.of(failures);
    }

    @Override
    public <Q, A> ServerCall.Listener<Q> interceptCall(
        ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
      tokens.add(headers.get(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER)));
      return next.startCall(call, headers);
    }

    @Override
    public void createRun(CreateRunRequest request, StreamObserver<CreateRunResponse> answers) {
      requests.add(request);
      if (requests.size() <= failures.size()) {
        answers.onError(failures.get(requests.size() - 1));
        return;
      }
      answers.onNext(CreateRunResponse.newBuilder().setRun(Run.newBuilder().setRunId("a-run")).build());
      answers.onCompleted();
    }
  }

  private RunServiceGrpc.RunServiceBlockingStub runs(RunServer server) throws IOException {
    String name = "runs-" + System.identityHashCode(server);
    servers.start(name, server, server);
    return RunServiceGrpc.newBlockingStub(servers.channel(name));
  }

  @Test
  void unavailableIsRepeatedUnderOneRequestId() throws IOException {
    RunServer server = new RunServer(Status.UNAVAILABLE.asRuntimeException(), Status.UNAVAILABLE.asRuntimeException());
    runs(server).createRun(CreateRunRequest.newBuilder().setModel("yolov8n").build());
    assertEquals(3, server.requests.size());
    assertFalse(server.requests.get(0).getRequestId().isEmpty());
    assertEquals(server.requests.get(0), server.requests.get(2));
    assertEquals("Bearer secret", server.tokens.get(0));
  }

  @Test
  void theCallersRequestIdIsKept() throws IOException {
    RunServer server = new RunServer();
    runs(server).createRun(CreateRunRequest.newBuilder().setRequestId("mine").build());
    assertEquals("mine", server.requests.get(0).getRequestId());
  }

  @Test
  void aRefusalIsDecoded() throws IOException {
    BadRequest.FieldViolation violation =
        BadRequest.FieldViolation.newBuilder().setField("arguments.epohcs").setDescription("no such argument").build();
    ErrorInfo info = ErrorInfo.newBuilder().setReason("INVALID_FIELD").putMetadata("key", "value").build();
    com.google.rpc.Status answer =
        com.google.rpc.Status.newBuilder()
            .setCode(Code.INVALID_ARGUMENT_VALUE)
            .setMessage("refused")
            .addDetails(Any.pack(info))
            .addDetails(Any.pack(BadRequest.newBuilder().addFieldViolations(violation).build()))
            .build();
    RunServer server = new RunServer(StatusProto.toStatusRuntimeException(answer));
    var runs = runs(server);
    StatusRuntimeException error =
        assertThrows(StatusRuntimeException.class, () -> runs.createRun(CreateRunRequest.getDefaultInstance()));
    Refusal refusal = Refusal.of(error).orElseThrow();
    assertEquals(Status.Code.INVALID_ARGUMENT, refusal.code());
    assertEquals("INVALID_FIELD", refusal.reason());
    assertEquals(Map.of("key", "value"), refusal.metadata());
    assertEquals(List.of(new Refusal.Field("arguments.epohcs", "no such argument")), refusal.fields());
    assertEquals(1, server.requests.size());
  }

  @Test
  void anErrorOfTheTransportIsNoRefusal() {
    assertTrue(Refusal.of(Status.INTERNAL.asRuntimeException()).isEmpty());
    assertTrue(Refusal.of(new IllegalStateException()).isEmpty());
  }

  @Test
  void aTokenIsNotSentInPlainTextToAnotherMachine() {
    Connection elsewhere = new Connection("http://192.0.2.1:8080", "secret");
    assertThrows(IllegalArgumentException.class, () -> SplitrailChannel.open(elsewhere));
    SplitrailChannel.openPlaintext(elsewhere).shutdownNow();
  }

  @Test
  void connectionsAreFound(@TempDir Path folder) throws IOException {
    Path inner = Files.createDirectories(folder.resolve("inner"));
    Files.createDirectory(folder.resolve(".splitrail"));
    Files.writeString(
        folder.resolve(".splitrail/client.json"), "{\"url\": \"http://127.0.0.1:9000/\", \"token\": \"stored\"}");
    Map<String, String> elsewhere = Map.of("SPLITRAIL_URL", "https://example.org");

    Connection stored = Connection.find(Map.of(), inner);
    assertEquals("http://127.0.0.1:9000 stored", stored.url() + " " + stored.tokens().get());
    Connection mixed = Connection.find(Map.of("SPLITRAIL_TOKEN", "given"), inner);
    assertEquals("http://127.0.0.1:9000 given", mixed.url() + " " + mixed.tokens().get());
    Connection given =
        Connection.find(Map.of("SPLITRAIL_URL", "https://example.org", "SPLITRAIL_TOKEN", "given"), inner);
    assertEquals("https://example.org given", given.url() + " " + given.tokens().get());
    assertThrows(IllegalStateException.class, () -> Connection.find(elsewhere, inner));
    assertFalse(stored.toString().contains("stored"));
  }
}
