package splitrail

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Patience says how a watch meets interruptions. A zero field means its default.
type Patience struct {
	// Silence is how long a stream may say nothing before it is dropped and opened again; default 30 s (services send
	// something at least every 15 s).
	Silence time.Duration
	// FirstPause and LongestPause bound the pause before a stream is opened again: it doubles from one to the other,
	// with jitter. Default 0.1 s and 5 s.
	FirstPause, LongestPause time.Duration
	// GiveUp is how long no message at all may come, over all tries, before the watch ends with the last error; default
	// 5 min.
	GiveUp time.Duration
}

func (p Patience) withDefaults() Patience {
	fill := func(field *time.Duration, value time.Duration) {
		if *field == 0 {
			*field = value
		}
	}
	fill(&p.Silence, 30*time.Second)
	fill(&p.FirstPause, 100*time.Millisecond)
	fill(&p.LongestPause, 5*time.Second)
	fill(&p.GiveUp, 5*time.Minute)
	return p
}

// errStopped is what a consumer of a stream returns when nothing shall follow.
var errStopped = errors.New("stopped")

// stream is one kind of server stream, opened as often as it breaks.
type stream[Message any] struct {
	open func(context.Context) (grpc.ServerStreamingClient[Message], error)
	// take handles a message. It returns whether it was news (then pauses begin small again), and errStopped or an
	// error to end on.
	take func(*Message) (news bool, err error)
	// restart handles CURSOR_OUT_OF_RANGE; false: end with it.
	restart func(*Refusal) bool
	// interrupted is told of each interruption.
	interrupted func(err error, pause time.Duration)
	patience    Patience
}

// follow returns nil after errStopped, else the error that ends the stream for good.
func (s stream[Message]) follow(ctx context.Context) error {
	patience := s.patience.withDefaults()
	alive, tries := time.Now(), 0
	for {
		opened := time.Now()
		heard, news, err := s.once(ctx, patience.Silence)
		if errors.Is(err, errStopped) {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !heard.IsZero() {
			alive = heard
		}
		if news || time.Since(opened) > patience.LongestPause {
			tries = 0
		}
		refusal, informed := AsRefusal(err)
		switch {
		case informed && refusal.Reason == "CURSOR_OUT_OF_RANGE":
			if s.restart == nil || !s.restart(refusal) {
				return refusal
			}
			continue
		case !reopens(err):
			if informed {
				return refusal
			}
			return err
		case time.Since(alive) > patience.GiveUp:
			return fmt.Errorf("nothing was heard for %s: %w", patience.GiveUp, err)
		}
		pause := jittered(patience, tries)
		if informed {
			pause = max(pause, refusal.RetryAfter)
		}
		tries++
		if s.interrupted != nil {
			s.interrupted(err, pause)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// once reads one stream to its end; heard is when the last message came (zero: none did).
func (s stream[Message]) once(ctx context.Context, silence time.Duration) (heard time.Time, news bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := fmt.Errorf("nothing was heard for %s", silence)
	timer := time.AfterFunc(silence, func() { cancel(silent) })
	defer timer.Stop()
	client, err := s.open(ctx)
	if err != nil {
		return heard, news, err
	}
	for {
		message, err := client.Recv()
		timer.Stop() // what the caller does with a message is no silence
		if err != nil {
			if errors.Is(context.Cause(ctx), silent) {
				err = status.Error(codes.DeadlineExceeded, silent.Error())
			}
			return heard, news, err
		}
		heard = time.Now()
		isNews, err := s.take(message)
		news = news || isNews
		if err != nil {
			return heard, news, err
		}
		timer.Reset(silence)
	}
}

// reopens follows the comment of MetricsService.WatchRun: an error without ErrorInfo comes from the transport, because
// a service or the gateway was killed, and means: open the stream again; with one, its code decides.
func reopens(err error) bool {
	code := status.Code(err) // that of io.EOF, an end without a last message, is Unknown
	if code == codes.Unauthenticated || code == codes.Unimplemented {
		return false
	}
	if _, informed := AsRefusal(err); !informed {
		return true
	}
	switch code {
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded, codes.Aborted:
		return true
	default:
		return false
	}
}

func jittered(patience Patience, tries int) time.Duration {
	longest := min(patience.LongestPause, patience.FirstPause<<min(tries, 20))
	return longest/2 + rand.N(longest/2+1)
}
