package dev.splitrail.client;

import com.google.protobuf.Any;
import com.google.rpc.ErrorInfo;
import com.google.rpc.Status;
import io.grpc.BindableService;
import io.grpc.ManagedChannel;
import io.grpc.Server;
import io.grpc.ServerInterceptor;
import io.grpc.StatusRuntimeException;
import io.grpc.inprocess.InProcessChannelBuilder;
import io.grpc.inprocess.InProcessServerBuilder;
import io.grpc.protobuf.StatusProto;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/** Servers within this process, and channels to them as SplitrailChannel makes them. */
final class Servers implements AutoCloseable {
  private final List<Runnable> cleanups = new ArrayList<>();

  Server start(String name, BindableService service, ServerInterceptor... interceptors) throws IOException {
    InProcessServerBuilder builder = InProcessServerBuilder.forName(name).addService(service);
    List.of(interceptors).forEach(builder::intercept);
    Server server = builder.build().start();
    cleanups.add(server::shutdownNow);
    return server;
  }

  ManagedChannel channel(String name) {
    Connection connection = new Connection("http://127.0.0.1:1", "secret");
    ManagedChannel channel = SplitrailChannel.configured(InProcessChannelBuilder.forName(name), connection).build();
    cleanups.add(channel::shutdownNow);
    return channel;
  }

  static StatusRuntimeException refusal(io.grpc.Status.Code code, String reason) {
    ErrorInfo info = ErrorInfo.newBuilder().setReason(reason).setDomain("splitrail").build();
    return StatusProto.toStatusRuntimeException(
        Status.newBuilder().setCode(code.value()).setMessage("refused").addDetails(Any.pack(info)).build());
  }

  @Override
  public void close() {
    cleanups.forEach(Runnable::run);
  }
}
