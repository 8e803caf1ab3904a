package splitrail_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	splitrail "splitrail.dev/clients/go"
	metricsv1 "splitrail.dev/clients/go/splitrail/metrics/v1"
)

const lastEpoch = 5

type watchStream = grpc.ServerStreamingServer[metricsv1.WatchRunResponse]

// metricsServer answers the n-th opening of a watch by the n-th script, and further ones by the last.
type metricsServer struct {
	metricsv1.UnimplementedMetricsServiceServer
	scripts []func(*metricsv1.WatchRunRequest, watchStream) error

	mutex    sync.Mutex
	requests []*metricsv1.WatchRunRequest
}

func (s *metricsServer) WatchRun(request *metricsv1.WatchRunRequest, stream watchStream) error {
	s.mutex.Lock()
	script := s.scripts[min(len(s.requests), len(s.scripts)-1)]
	s.requests = append(s.requests, request)
	s.mutex.Unlock()
	return script(request, stream)
}

// replay sends the events after the request's cursor up to `until`, closes after the last one, and returns `err`.
func replay(until int64, err error) func(*metricsv1.WatchRunRequest, watchStream) error {
	return func(request *metricsv1.WatchRunRequest, stream watchStream) error {
		return errors.Join(stream.Send(heartbeat(request.GetAfterSeq())), send(stream, request.GetAfterSeq()+1, until), err)
	}
}

func send(stream watchStream, from, until int64) error {
	for seq := from; seq <= until; seq++ {
		message := &metricsv1.WatchRunResponse{Cursor: seq, Incarnation: "one", Message: &metricsv1.WatchRunResponse_Event{
			Event: &metricsv1.FeedEvent{Seq: seq, Payload: &metricsv1.FeedEvent_Epoch{Epoch: &metricsv1.EpochMetrics{Epoch: int32(seq)}}},
		}}
		if err := stream.Send(message); err != nil {
			return err
		}
	}
	if until == lastEpoch {
		return stream.Send(closed(until, metricsv1.ClosedReason_CLOSED_REASON_ENDED))
	}
	return nil
}

func heartbeat(cursor int64) *metricsv1.WatchRunResponse {
	return &metricsv1.WatchRunResponse{
		Cursor: cursor, Incarnation: "one", Message: &metricsv1.WatchRunResponse_Heartbeat{Heartbeat: &metricsv1.Heartbeat{}},
	}
}

func closed(cursor int64, reason metricsv1.ClosedReason) *metricsv1.WatchRunResponse {
	return &metricsv1.WatchRunResponse{
		Cursor: cursor, Incarnation: "one", Message: &metricsv1.WatchRunResponse_Closed{Closed: &metricsv1.Closed{Reason: reason}},
	}
}

func refusal(code codes.Code, reason string) error {
	answer, err := status.New(code, "refused").WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: "splitrail"})
	if err != nil {
		panic(err)
	}
	return answer.Err()
}

func serve(t *testing.T, server *metricsServer, address string) (*grpc.Server, string) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	running := grpc.NewServer()
	metricsv1.RegisterMetricsServiceServer(running, server)
	go func() { _ = running.Serve(listener) }() // its error says that it was stopped
	t.Cleanup(running.Stop)
	return running, listener.Addr().String()
}

func dial(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := splitrail.Dial(splitrail.Connection{URL: "http://" + address, Tokens: splitrail.StaticToken("secret")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// watched is what a caller of Watch sees.
type watched struct {
	seqs          []int64
	ended         bool
	err           error
	interruptions int
	restarts      int
}

func watch(t *testing.T, conn *grpc.ClientConn, options splitrail.WatchOptions) watched {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var result watched
	options.OnInterruption = func(error, time.Duration) { result.interruptions++ }
	options.Patience.FirstPause, options.Patience.LongestPause = time.Millisecond, 20*time.Millisecond
	for message, err := range splitrail.Watch(ctx, conn, "a-run", &options) {
		switch {
		case err != nil:
			result.err = err
		case message.GetEvent() != nil:
			result.seqs = append(result.seqs, message.GetEvent().GetSeq())
		case message.GetClosed() != nil:
			result.ended = true
		}
	}
	return result
}

func (w watched) expectEachOnce(t *testing.T) {
	t.Helper()
	if w.err != nil || !w.ended {
		t.Fatalf("ended: %t, error: %v", w.ended, w.err)
	}
	if len(w.seqs) != lastEpoch {
		t.Fatalf("events %v", w.seqs)
	}
	for index, seq := range w.seqs {
		if seq != int64(index+1) {
			t.Fatalf("events %v", w.seqs)
		}
	}
}

func TestWatchOpensAgainFromTheCursor(t *testing.T) {
	draining := func(request *metricsv1.WatchRunRequest, stream watchStream) error {
		return errors.Join(send(stream, 1, 2), stream.Send(closed(2, metricsv1.ClosedReason_CLOSED_REASON_DRAINING)))
	}
	gap := func(_ *metricsv1.WatchRunRequest, stream watchStream) error {
		return errors.Join(send(stream, 1, 2), send(stream, 4, 4))
	}
	for name, first := range map[string]func(*metricsv1.WatchRunRequest, watchStream) error{
		"transport's INTERNAL":     replay(2, status.Error(codes.Internal, "cut")),
		"transport's UNKNOWN":      replay(2, status.Error(codes.Unknown, "cut")),
		"transport's CANCELLED":    replay(2, status.Error(codes.Canceled, "cut")),
		"transport's UNAVAILABLE":  replay(2, status.Error(codes.Unavailable, "cut")),
		"service's UNAVAILABLE":    replay(2, refusal(codes.Unavailable, "DEPENDENCY_UNAVAILABLE")),
		"WATCHER_TOO_SLOW":         replay(2, refusal(codes.ResourceExhausted, "WATCHER_TOO_SLOW")),
		"DEADLINE_EXCEEDED":        replay(2, refusal(codes.DeadlineExceeded, "DEPENDENCY_UNAVAILABLE")),
		"ABORTED":                  replay(2, refusal(codes.Aborted, "ATTEMPT_FENCED")),
		"end without closed":       replay(2, nil),
		"draining":                 draining,
		"a gap between two events": gap,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &metricsServer{scripts: []func(*metricsv1.WatchRunRequest, watchStream) error{first, replay(lastEpoch, nil)}}
			_, address := serve(t, server, "127.0.0.1:0")
			result := watch(t, dial(t, address), splitrail.WatchOptions{})
			result.expectEachOnce(t)
			if result.interruptions != 1 {
				t.Errorf("%d interruptions", result.interruptions)
			}
			second := server.requests[1]
			if second.GetAfterSeq() != 2 || second.GetIncarnation() != "one" {
				t.Errorf("opened again with %v", second)
			}
		})
	}
}

func TestWatchPassesOverEventsThatComeAgain(t *testing.T) {
	again := func(_ *metricsv1.WatchRunRequest, stream watchStream) error { return send(stream, 1, lastEpoch) }
	server := &metricsServer{scripts: []func(*metricsv1.WatchRunRequest, watchStream) error{replay(3, nil), again}}
	_, address := serve(t, server, "127.0.0.1:0")
	watch(t, dial(t, address), splitrail.WatchOptions{}).expectEachOnce(t)
}

func TestWatchOutlivesAKilledServer(t *testing.T) {
	sent := make(chan struct{})
	hang := func(request *metricsv1.WatchRunRequest, stream watchStream) error {
		if err := send(stream, 1, 3); err != nil {
			return err
		}
		close(sent)
		<-stream.Context().Done()
		return stream.Context().Err()
	}
	first := &metricsServer{scripts: []func(*metricsv1.WatchRunRequest, watchStream) error{hang}}
	running, address := serve(t, first, "127.0.0.1:0")
	conn := dial(t, address)
	restarted := make(chan struct{})
	go func() {
		defer close(restarted)
		<-sent
		running.Stop()
		serve(t, &metricsServer{scripts: []func(*metricsv1.WatchRunRequest, watchStream) error{replay(lastEpoch, nil)}}, address)
	}()
	result := watch(t, conn, splitrail.WatchOptions{})
	<-restarted
	result.expectEachOnce(t)
	if result.interruptions == 0 {
		t.Error("nobody was told of the interruption")
	}
}

func TestWatchDropsASilentStream(t *testing.T) {
	hang := func(_ *metricsv1.WatchRunRequest, stream watchStream) error {
		err := send(stream, 1, 1)
		<-stream.Context().Done()
		return err
	}
	server := &metricsServer{scripts: []func(*metricsv1.WatchRunRequest, watchStream) error{hang, replay(lastEpoch, nil)}}
	_, address := serve(t, server, "127.0.0.1:0")
	options := splitrail.WatchOptions{Patience: splitrail.Patience{Silence: 300 * time.Millisecond}}
	watch(t, dial(t, address), options).expectEachOnce(t)
}

func TestWatchStops(t *testing.T) {
	for name, answer := range map[string]error{
		"NOT_FOUND":              refusal(codes.NotFound, "NOT_FOUND"),
		"INVALID_ARGUMENT":       refusal(codes.InvalidArgument, "INVALID_FIELD"),
		"PERMISSION_DENIED":      refusal(codes.PermissionDenied, "ROLE_MISSING"),
		"UNAUTHENTICATED":        refusal(codes.Unauthenticated, "TOKEN_INVALID"),
		"a bare UNAUTHENTICATED": status.Error(codes.Unauthenticated, "no token"),
		"a bare UNIMPLEMENTED":   status.Error(codes.Unimplemented, "no such service"),
		"a service's own defect": refusal(codes.Internal, "INTERNAL"),
		"a restart nobody hears": refusal(codes.OutOfRange, "CURSOR_OUT_OF_RANGE"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &metricsServer{scripts: []func(*metricsv1.WatchRunRequest, watchStream) error{replay(2, answer)}}
			_, address := serve(t, server, "127.0.0.1:0")
			result := watch(t, dial(t, address), splitrail.WatchOptions{})
			if len(server.requests) != 1 || status.Code(result.err) != status.Code(answer) {
				t.Errorf("opened %d times, error: %v", len(server.requests), result.err)
			}
		})
	}
}

func TestWatchGivesUpAfterATime(t *testing.T) {
	server := &metricsServer{scripts: []func(*metricsv1.WatchRunRequest, watchStream) error{
		func(*metricsv1.WatchRunRequest, watchStream) error { return status.Error(codes.Unavailable, "down") },
	}}
	_, address := serve(t, server, "127.0.0.1:0")
	result := watch(t, dial(t, address), splitrail.WatchOptions{Patience: splitrail.Patience{GiveUp: 100 * time.Millisecond}})
	if status.Code(result.err) != codes.Unavailable || result.interruptions < 2 {
		t.Errorf("after %d interruptions: %v", result.interruptions, result.err)
	}
}

func TestWatchStartsFromTheBeginningInANewIncarnation(t *testing.T) {
	outOfRange := func(*metricsv1.WatchRunRequest, watchStream) error {
		return refusal(codes.OutOfRange, "CURSOR_OUT_OF_RANGE")
	}
	server := &metricsServer{scripts: []func(*metricsv1.WatchRunRequest, watchStream) error{outOfRange, replay(lastEpoch, nil)}}
	_, address := serve(t, server, "127.0.0.1:0")
	restarts := 0
	result := watch(t, dial(t, address), splitrail.WatchOptions{
		After:     splitrail.Cursor{Seq: 3, Incarnation: "zero"},
		OnRestart: func(*splitrail.Refusal) { restarts++ },
	})
	result.expectEachOnce(t)
	if restarts != 1 || server.requests[1].GetAfterSeq() != 0 || server.requests[1].GetIncarnation() != "" {
		t.Errorf("%d restarts, opened again with %v", restarts, server.requests[1])
	}
}

func TestWatchEndsWithTheLoop(t *testing.T) {
	server := &metricsServer{scripts: []func(*metricsv1.WatchRunRequest, watchStream) error{replay(lastEpoch, nil)}}
	_, address := serve(t, server, "127.0.0.1:0")
	count := 0
	for range splitrail.Watch(t.Context(), dial(t, address), "a-run", nil) {
		count++
		break
	}
	if count != 1 {
		t.Errorf("%d messages after break", count)
	}
}
