package dev.splitrail.client;

import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.MethodDescriptor;
import java.util.UUID;

/** Gives a mutation that has none a request_id, so that repeating it makes nothing twice. */
final class RequestIds implements ClientInterceptor {
  @Override
  public <Q, A> ClientCall<Q, A> interceptCall(MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
    return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
      @Override
      public void sendMessage(Q request) {
        super.sendMessage(identified(request));
      }
    };
  }

  @SuppressWarnings("unchecked") // a builder makes what it was made from
  private static <Q> Q identified(Q request) {
    if (!(request instanceof Message message)) {
      return request;
    }
    FieldDescriptor field = message.getDescriptorForType().findFieldByName("request_id");
    if (field == null || !message.getField(field).equals("")) {
      return request;
    }
    return (Q) message.toBuilder().setField(field, UUID.randomUUID().toString()).build();
  }
}
