// Package splitrail connects Go programs to Splitrail: a channel with token, retries and keepalive (Dial), a watch that
// survives whatever breaks (Watch), refusals as typed errors (AsRefusal), and the import of a folder (ImportFolder).
// The contracts' messages and clients are the packages below splitrail/.
package splitrail

import (
	"context"
	"crypto/rand"
	_ "embed"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// ServiceConfig says which calls gRPC repeats by itself: every unary RPC that answers UNAVAILABLE, and no stream. It is
// a copy of proto/service_config.json.
//
//go:embed service_config.json
var ServiceConfig string

// MaxMessageBytes is the largest answer that is taken: lists of a thousand images with their annotations are large.
const MaxMessageBytes = 64 << 20

// Dial makes a channel to the gateway; it connects at the first call. Every call carries the token. UNAVAILABLE is
// repeated as ServiceConfig says, which is safe because a mutation without a request_id is given one.
//
// A token is sent without TLS only to a gateway on this machine; DialPlaintext also does so elsewhere. Options come
// last and win.
func Dial(connection Connection, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	return dial(connection, false, options)
}

// DialPlaintext is Dial for an http:// gateway on a network that is trusted, such as a cluster's own.
func DialPlaintext(connection Connection, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	return dial(connection, true, options)
}

func dial(connection Connection, plaintext bool, options []grpc.DialOption) (*grpc.ClientConn, error) {
	hostPort, encrypted, loopback, err := target(connection.URL)
	if err != nil {
		return nil, err
	}
	transport := insecure.NewCredentials()
	if encrypted {
		transport = credentials.NewTLS(nil)
	}
	defaults := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithPerRPCCredentials(bearer{connection.Tokens, plaintext || loopback}),
		grpc.WithDefaultServiceConfig(ServiceConfig),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessageBytes)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			// gRPC's own pauses grow to two minutes: a watch would wait that long for a gateway that is back.
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 10 * time.Second,
		}),
		grpc.WithChainUnaryInterceptor(withRequestID),
	}
	if loopback {
		defaults = append(defaults, grpc.WithNoProxy()) // whatever the environment says
	}
	return grpc.NewClient(hostPort, append(defaults, options...)...)
}

// withRequestID gives a mutation that has none a request_id, so that repeating it makes nothing twice.
func withRequestID(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if message, ok := request.(proto.Message); ok {
		field := message.ProtoReflect().Descriptor().Fields().ByName("request_id")
		if field != nil && message.ProtoReflect().Get(field).String() == "" {
			message = proto.Clone(message) // the caller's stays as it is
			message.ProtoReflect().Set(field, protoreflect.ValueOfString(rand.Text()))
			request = message
		}
	}
	return invoke(ctx, method, request, reply, conn, options...)
}
