package splitrail

import (
	"context"

	"google.golang.org/grpc/credentials"
)

// TokenSource gives the bearer token of a call. It is asked before every call, so one that renews its token need not
// reopen anything.
type TokenSource interface {
	// Token returns the token as it is, without "Bearer".
	Token(ctx context.Context) (string, error)
}

// StaticToken is a token that never changes.
type StaticToken string

// Token returns the token.
func (token StaticToken) Token(context.Context) (string, error) { return string(token), nil }

// GoString hides the token from %#v.
func (token StaticToken) GoString() string { return "splitrail.StaticToken(...)" }

// String hides the token from logs.
func (token StaticToken) String() string { return "..." }

// bearer sends the token with each call.
type bearer struct {
	tokens    TokenSource
	plaintext bool
}

var _ credentials.PerRPCCredentials = bearer{}

func (b bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := b.tokens.Token(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity keeps tokens off the network in plain text: only a gateway on this machine, or one that the
// caller has allowed, is spoken to without TLS.
func (b bearer) RequireTransportSecurity() bool { return !b.plaintext }
