// Sends a notification, prints its id and what became of it, and reads an error.
//
//	go generate && go run .
//
//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.75.0 generate
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	mathrand "math/rand/v2"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	routerv1 "example.com/clarion-example/gen/clarion/api/router/v1"
	trackingv1 "example.com/clarion-example/gen/clarion/api/tracking/v1"
)

// APIError is what Clarion says about a call that it refused.
type APIError struct {
	Code       codes.Code
	Message    string
	Reason     string        // switch on this; messages may change
	Violations []string      // field: what to change
	RetryAfter time.Duration // 0: not said
}

func (e *APIError) Error() string { return fmt.Sprintf("%s %s: %s", e.Code, e.Reason, e.Message) }

// Retryable holds for what passes. RESOURCE_EXHAUSTED alone does not: a request that is
// too large stays so.
func (e *APIError) Retryable() bool {
	return e.Code == codes.Unavailable || e.Reason == "OVERLOADED"
}

// readError unpacks the details of a call's error.
func readError(err error) *APIError {
	state := status.Convert(err)
	found := &APIError{Code: state.Code(), Message: state.Message()}
	for _, detail := range state.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			found.Reason = detail.Reason
		case *errdetails.BadRequest:
			for _, wrong := range detail.FieldViolations {
				found.Violations = append(found.Violations, wrong.Field+": "+wrong.Description)
			}
		case *errdetails.RetryInfo:
			found.RetryAfter = detail.RetryDelay.AsDuration()
		}
	}
	return found
}

// patiently repeats a call that is safe to repeat, until the context ends. Each attempt has 15 s.
func patiently[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		attempt, cancel := context.WithTimeout(ctx, 15*time.Second)
		answer, err := call(attempt)
		cancel()
		if err == nil {
			return answer, nil
		}
		failure := readError(err)
		if !failure.Retryable() {
			return answer, failure
		}
		pause := wait/2 + mathrand.N(wait/2)
		if failure.RetryAfter > 0 {
			pause = failure.RetryAfter
		}
		select {
		case <-ctx.Done():
			return answer, failure
		case <-time.After(pause):
		}
	}
}

func run() error {
	key, err := os.ReadFile(os.Getenv("CLARION_KEY_FILE"))
	if err != nil {
		return err
	}
	// In production: credentials.NewTLS(nil) in place of insecure.
	conn, err := grpc.NewClient(os.Getenv("CLARION_TARGET"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+strings.TrimSpace(string(key)))
	notifications := routerv1.NewNotificationServiceClient(conn)
	tracking := trackingv1.NewTrackingServiceClient(conn)

	data, err := structpb.NewStruct(map[string]any{"order_id": "12345", "amount": 99.99})
	if err != nil {
		return err
	}
	sent, err := patiently(ctx, func(ctx context.Context) (*routerv1.SendNotificationResponse, error) {
		return notifications.SendNotification(ctx, &routerv1.SendNotificationRequest{
			Notification: &routerv1.Notification{
				UserId:         "user_1",
				Type:           "order_confirmation",
				Title:          "Order confirmed",
				Message:        "Your order 12345 is on its way",
				Channels:       []string{"push", "in_app"},
				Data:           data,
				IdempotencyKey: idempotencyKey,
			},
		})
	})
	if err != nil {
		return err
	}
	fmt.Println("sent", sent.NotificationId, sent.Status)

	get := func(ctx context.Context) (*trackingv1.GetNotificationResponse, error) {
		return tracking.GetNotification(ctx, &trackingv1.GetNotificationRequest{NotificationId: sent.NotificationId})
	}
	got, err := patiently(ctx, get)
	for polls := 0; err == nil && got.Notification.Status == "processing" && polls < 50; polls++ {
		time.Sleep(200 * time.Millisecond)
		got, err = patiently(ctx, get)
	}
	if err != nil {
		return err
	}
	fmt.Println("state", got.Notification.Status)
	for _, delivery := range got.Notification.Deliveries {
		fmt.Println(" ", delivery.Channel, delivery.Status, delivery.Reason)
	}

	_, err = patiently(ctx, func(ctx context.Context) (*routerv1.SendNotificationResponse, error) {
		return notifications.SendNotification(ctx, &routerv1.SendNotificationRequest{
			Notification: &routerv1.Notification{Type: "order_confirmation", Title: "To nobody", Message: "-"},
		})
	})
	var refused *APIError
	if !errors.As(err, &refused) {
		return fmt.Errorf("a notification to nobody was accepted")
	}
	fmt.Println("refused", refused.Code, refused.Reason, refused.Violations)
	return nil
}

// Store such a key with the order before sending; then a repeated run sends nothing twice.
var idempotencyKey = "order-12345-" + rand.Text()

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
