package com.example;

import clarion.api.router.v1.NotificationOuterClass.Notification;
import clarion.api.router.v1.NotificationServiceGrpc;
import clarion.api.router.v1.NotificationServiceOuterClass.SendNotificationRequest;
import clarion.api.tracking.v1.TrackingServiceGrpc;
import clarion.api.tracking.v1.TrackingServiceOuterClass.GetNotificationRequest;
import clarion.api.tracking.v1.TrackingServiceOuterClass.NotificationRecord;
import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status.Code;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/**
 * Sends a notification, prints its id and what became of it, and reads an error.
 *
 * <pre>mvn -q compile exec:java</pre>
 */
public final class SendNotification {

  /** What Clarion says about a call that it refused. */
  static final class ApiException extends RuntimeException {
    final Code code;
    /** Switch on this; messages may change. */
    String reason = "";
    final List<String> violations = new ArrayList<>();
    /** 0: not said. */
    long retryAfterMillis;

    ApiException(StatusRuntimeException error) {
      super(error.getStatus().getDescription(), error);
      code = error.getStatus().getCode();
      com.google.rpc.Status status = StatusProto.fromThrowable(error);
      if (status == null) {
        return;
      }
      try {
        for (Any detail : status.getDetailsList()) {
          if (detail.is(ErrorInfo.class)) {
            reason = detail.unpack(ErrorInfo.class).getReason();
          } else if (detail.is(BadRequest.class)) {
            for (var wrong : detail.unpack(BadRequest.class).getFieldViolationsList()) {
              violations.add(wrong.getField() + ": " + wrong.getDescription());
            }
          } else if (detail.is(RetryInfo.class)) {
            var delay = detail.unpack(RetryInfo.class).getRetryDelay();
            retryAfterMillis = delay.getSeconds() * 1000 + delay.getNanos() / 1_000_000;
          }
        }
      } catch (InvalidProtocolBufferException broken) {
        addSuppressed(broken);
      }
    }

    /** RESOURCE_EXHAUSTED alone does not pass: a request that is too large stays so. */
    boolean isRetryable() {
      return code == Code.UNAVAILABLE || reason.equals("OVERLOADED");
    }
  }

  /** Repeats a call that is safe to repeat, for up to 30 s. */
  static <T> T patiently(Supplier<T> call) throws InterruptedException {
    long giveUp = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
    for (long wait = 100; ; wait = Math.min(2 * wait, 2000)) {
      try {
        return call.get();
      } catch (StatusRuntimeException error) {
        var failure = new ApiException(error);
        long pause =
            failure.retryAfterMillis > 0
                ? failure.retryAfterMillis
                : wait / 2 + ThreadLocalRandom.current().nextLong(wait / 2);
        if (!failure.isRetryable()
            || System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(pause) > giveUp) {
          throw failure;
        }
        Thread.sleep(pause);
      }
    }
  }

  public static void main(String[] arguments) throws Exception {
    var key = Files.readString(Path.of(System.getenv("CLARION_KEY_FILE"))).strip();
    var headers = new Metadata();
    headers.put(
        Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + key);
    // In production: TlsChannelCredentials.create().
    ManagedChannel channel =
        Grpc.newChannelBuilder(System.getenv("CLARION_TARGET"), InsecureChannelCredentials.create())
            .intercept(MetadataUtils.newAttachHeadersInterceptor(headers))
            .build();
    try {
      run(channel);
    } finally {
      channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }
  }

  private static void run(ManagedChannel channel) throws InterruptedException {
    var notifications = NotificationServiceGrpc.newBlockingStub(channel);
    var tracking = TrackingServiceGrpc.newBlockingStub(channel);

    var request =
        SendNotificationRequest.newBuilder()
            .setNotification(
                Notification.newBuilder()
                    .setUserId("user_1")
                    .setType("order_confirmation")
                    .setTitle("Order confirmed")
                    .setMessage("Your order 12345 is on its way")
                    .addChannels("push")
                    .addChannels("in_app")
                    .setData(
                        Struct.newBuilder()
                            .putFields("order_id", text("12345"))
                            .putFields("amount", Value.newBuilder().setNumberValue(99.99).build()))
                    // Store such a key with the order before sending; then a repeated run
                    // sends nothing twice.
                    .setIdempotencyKey("order-12345-" + UUID.randomUUID()))
            .build();
    // A stub with a deadline is made for each attempt: the deadline counts from there.
    var sent =
        patiently(
            () -> notifications.withDeadlineAfter(15, TimeUnit.SECONDS).sendNotification(request));
    System.out.println("sent " + sent.getNotificationId() + " " + sent.getStatus());

    var id = GetNotificationRequest.newBuilder().setNotificationId(sent.getNotificationId());
    var got = fetch(tracking, id.build());
    for (int polls = 0; got.getStatus().equals("processing") && polls < 50; polls++) {
      Thread.sleep(200);
      got = fetch(tracking, id.build());
    }
    System.out.println("state " + got.getStatus());
    for (var delivery : got.getDeliveriesList()) {
      System.out.printf(
          "  %s %s %s%n", delivery.getChannel(), delivery.getStatus(), delivery.getReason());
    }

    var nobody =
        SendNotificationRequest.newBuilder()
            .setNotification(
                Notification.newBuilder()
                    .setType("order_confirmation")
                    .setTitle("To nobody")
                    .setMessage("-"))
            .build();
    try {
      patiently(
          () -> notifications.withDeadlineAfter(15, TimeUnit.SECONDS).sendNotification(nobody));
    } catch (ApiException refused) {
      System.out.printf(
          "refused %s %s %s%n", refused.code, refused.reason, refused.violations);
    }
  }

  private static NotificationRecord fetch(
      TrackingServiceGrpc.TrackingServiceBlockingStub tracking, GetNotificationRequest request)
      throws InterruptedException {
    return patiently(
            () -> tracking.withDeadlineAfter(15, TimeUnit.SECONDS).getNotification(request))
        .getNotification();
  }

  private static Value text(String value) {
    return Value.newBuilder().setStringValue(value).build();
  }

  private SendNotification() {}
}
