package splitrail

import (
	"context"
	"iter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	metricsv1 "splitrail.dev/clients/go/splitrail/metrics/v1"
)

// Cursor is a place in a feed. The zero Cursor is the start.
type Cursor struct {
	// Seq of the last event that was read.
	Seq int64
	// Incarnation of the feed that Seq counts; empty: not checked.
	Incarnation string
}

// WatchOptions of Watch; nil or zero fields mean their defaults.
type WatchOptions struct {
	// After is where to continue; default: from the start.
	After Cursor
	// OnRestart is told when the feed has begun a new incarnation (a restore from a backup): forget every event that
	// was read, for the watch goes on from the start. Without it the watch ends with the refusal
	// CURSOR_OUT_OF_RANGE instead, because nobody would know.
	OnRestart func(refusal *Refusal)
	// OnInterruption is told each time that the stream broke, and after which pause it is opened again.
	OnInterruption func(err error, pause time.Duration)
	// Patience with interruptions.
	Patience Patience
}

// Watch follows the feed of a run (or of an evaluation, by its evaluation_id) until it ends: the messages of WatchRun
// without heartbeats, the last one a closed of CLOSED_REASON_ENDED. Each event comes exactly once and in order,
// whatever breaks in between; progress is passed on as it comes. To continue another time, keep the cursor and
// incarnation of the last message.
//
// The error, always the last pair, is a *Refusal (NOT_FOUND, PERMISSION_DENIED, ...), that of ctx, or what broke the
// stream when it stays broken for Patience.GiveUp.
func Watch(ctx context.Context, conn grpc.ClientConnInterface, runID string, options *WatchOptions) iter.Seq2[*metricsv1.WatchRunResponse, error] {
	if options == nil {
		options = &WatchOptions{}
	}
	return func(yield func(*metricsv1.WatchRunResponse, error) bool) {
		feed := feed{cursor: options.After, yield: yield}
		client := metricsv1.NewMetricsServiceClient(conn)
		watched := stream[metricsv1.WatchRunResponse]{
			open: func(ctx context.Context) (grpc.ServerStreamingClient[metricsv1.WatchRunResponse], error) {
				return client.WatchRun(ctx, &metricsv1.WatchRunRequest{
					RunId: runID, AfterSeq: feed.cursor.Seq, Incarnation: feed.cursor.Incarnation,
				})
			},
			take:        feed.take,
			interrupted: options.OnInterruption,
			patience:    options.Patience,
		}
		if options.OnRestart != nil {
			watched.restart = func(refusal *Refusal) bool {
				if feed.cursor == (Cursor{}) { // the start of a feed is never out of range
					return false
				}
				feed.cursor = Cursor{}
				options.OnRestart(refusal)
				return true
			}
		}
		if err := watched.follow(ctx); err != nil {
			yield(nil, err)
		}
	}
}

// feed passes on what a watch says, each event once.
type feed struct {
	cursor Cursor
	yield  func(*metricsv1.WatchRunResponse, error) bool
}

func (f *feed) take(message *metricsv1.WatchRunResponse) (news bool, err error) {
	if event := message.GetEvent(); event != nil {
		switch {
		case event.GetSeq() <= f.cursor.Seq: // seen before the stream broke
			return false, nil
		case event.GetSeq() != f.cursor.Seq+1:
			return false, status.Errorf(codes.Aborted, "event %d came after %d", event.GetSeq(), f.cursor.Seq)
		}
		f.cursor.Seq = event.GetSeq()
	}
	f.cursor.Incarnation = message.GetIncarnation()
	closed := message.GetClosed()
	if closed != nil && closed.GetReason() != metricsv1.ClosedReason_CLOSED_REASON_ENDED {
		return false, status.Errorf(codes.Unavailable, "the watch was closed: %s", closed.GetReason())
	}
	if message.GetHeartbeat() != nil {
		return false, nil
	}
	if !f.yield(message, nil) || closed != nil {
		return true, errStopped
	}
	return message.GetEvent() != nil, nil
}
