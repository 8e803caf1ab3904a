package dev.splitrail.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * An error that a service or the gateway gave on purpose: one with an ErrorInfo. Branch on the reason, never on the
 * message.
 *
 * @param code the canonical code
 * @param message for people
 * @param reason a value of splitrail.errors.v1.ErrorReason without its prefix: INVALID_FIELD, NOT_FOUND, ...
 * @param metadata what the comment of that value promises
 * @param fields set for INVALID_FIELD
 * @param retryAfter how long to wait before trying again; zero: not said
 */
public record Refusal(
    Status.Code code,
    String message,
    String reason,
    Map<String, String> metadata,
    List<Field> fields,
    Duration retryAfter) {
  /**
   * A field of the request and what is wrong with it.
   *
   * @param name its path: {@code arguments.epochs}, {@code assets[3].sha256}
   * @param description for people
   */
  public record Field(String name, String description) {}

  /**
   * Decodes the error of a call. Empty for an error without ErrorInfo: that one comes from the transport, and the call
   * may be repeated.
   */
  public static Optional<Refusal> of(Throwable error) {
    com.google.rpc.Status answer = StatusProto.fromThrowable(error);
    if (answer == null) {
      return Optional.empty();
    }
    ErrorInfo info = null;
    List<Field> fields = new ArrayList<>();
    Duration retryAfter = Duration.ZERO;
    try {
      for (Any detail : answer.getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          info = detail.unpack(ErrorInfo.class);
        } else if (detail.is(BadRequest.class)) {
          for (BadRequest.FieldViolation violation : detail.unpack(BadRequest.class).getFieldViolationsList()) {
            fields.add(new Field(violation.getField(), violation.getDescription()));
          }
        } else if (detail.is(RetryInfo.class)) {
          var delay = detail.unpack(RetryInfo.class).getRetryDelay();
          retryAfter = Duration.ofSeconds(delay.getSeconds(), delay.getNanos());
        }
      }
    } catch (InvalidProtocolBufferException e) {
      return Optional.empty(); // details that are damaged say nothing
    }
    if (info == null) {
      return Optional.empty();
    }
    Status.Code code = Status.fromCodeValue(answer.getCode()).getCode();
    return Optional.of(
        new Refusal(code, answer.getMessage(), info.getReason(), info.getMetadataMap(), List.copyOf(fields), retryAfter));
  }
}
