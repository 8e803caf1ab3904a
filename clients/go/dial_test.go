package splitrail_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	splitrail "splitrail.dev/clients/go"
	trainerv1 "splitrail.dev/clients/go/splitrail/trainer/v1"
)

// runServer fails the first calls and keeps what it was asked.
type runServer struct {
	trainerv1.UnimplementedRunServiceServer
	failures []error
	requests []*trainerv1.CreateRunRequest
	tokens   []string
}

func (s *runServer) CreateRun(ctx context.Context, request *trainerv1.CreateRunRequest) (*trainerv1.CreateRunResponse, error) {
	headers, _ := metadata.FromIncomingContext(ctx)
	s.requests, s.tokens = append(s.requests, request), headers.Get("authorization")
	if len(s.requests) <= len(s.failures) {
		return nil, s.failures[len(s.requests)-1]
	}
	return &trainerv1.CreateRunResponse{Run: &trainerv1.Run{RunId: "a-run"}}, nil
}

func runs(t *testing.T, server *runServer) trainerv1.RunServiceClient {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	running := grpc.NewServer()
	trainerv1.RegisterRunServiceServer(running, server)
	go func() { _ = running.Serve(listener) }() // its error says that it was stopped
	t.Cleanup(running.Stop)
	return trainerv1.NewRunServiceClient(dial(t, listener.Addr().String()))
}

func TestUnavailableIsRepeatedUnderOneRequestID(t *testing.T) {
	server := &runServer{failures: []error{status.Error(codes.Unavailable, "starting"), status.Error(codes.Unavailable, "starting")}}
	request := &trainerv1.CreateRunRequest{Model: "yolov8n"}
	if _, err := runs(t, server).CreateRun(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if len(server.requests) != 3 || server.requests[0].GetRequestId() == "" || server.requests[0].GetRequestId() != server.requests[2].GetRequestId() {
		t.Errorf("asked with %v", server.requests)
	}
	if request.GetRequestId() != "" {
		t.Error("the caller's request was changed")
	}
	if len(server.tokens) != 1 || server.tokens[0] != "Bearer secret" {
		t.Errorf("tokens %v", server.tokens)
	}
}

func TestTheCallersRequestIDIsKept(t *testing.T) {
	server := &runServer{}
	if _, err := runs(t, server).CreateRun(t.Context(), &trainerv1.CreateRunRequest{RequestId: "mine"}); err != nil {
		t.Fatal(err)
	}
	if server.requests[0].GetRequestId() != "mine" {
		t.Errorf("asked with %v", server.requests)
	}
}

func TestARefusalIsDecoded(t *testing.T) {
	answer, err := status.New(codes.InvalidArgument, "refused").WithDetails(
		&errdetails.ErrorInfo{Reason: "INVALID_FIELD", Domain: "splitrail", Metadata: map[string]string{"key": "value"}},
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "arguments.epohcs", Description: "no such argument"}}},
	)
	if err != nil {
		t.Fatal(err)
	}
	server := &runServer{failures: []error{answer.Err()}}
	_, err = runs(t, server).CreateRun(t.Context(), &trainerv1.CreateRunRequest{})
	refused, ok := splitrail.AsRefusal(err)
	if !ok || refused.Code != codes.InvalidArgument || refused.Reason != "INVALID_FIELD" || refused.Metadata["key"] != "value" {
		t.Fatalf("%v", err)
	}
	if len(refused.Fields) != 1 || refused.Fields[0] != (splitrail.FieldViolation{Field: "arguments.epohcs", Description: "no such argument"}) {
		t.Errorf("fields %v", refused.Fields)
	}
	if len(server.requests) != 1 {
		t.Error("a refusal was repeated")
	}
}

func TestAnErrorOfTheTransportIsNoRefusal(t *testing.T) {
	for _, err := range []error{nil, context.Canceled, status.Error(codes.Internal, "cut")} {
		if refused, ok := splitrail.AsRefusal(err); ok || refused != nil {
			t.Errorf("%v became %v", err, refused)
		}
	}
}

func TestATokenIsNotSentInPlainTextToAnotherMachine(t *testing.T) {
	connection := splitrail.Connection{URL: "http://192.0.2.1:8080", Tokens: splitrail.StaticToken("secret")}
	if conn, err := splitrail.Dial(connection); err == nil {
		_ = conn.Close()
		t.Error("dialled")
	}
	conn, err := splitrail.DialPlaintext(connection)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

func TestFindConnection(t *testing.T) {
	folder := t.TempDir()
	inner := filepath.Join(folder, "inner")
	if err := os.MkdirAll(filepath.Join(folder, ".splitrail"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	stored := []byte(`{"url": "http://127.0.0.1:9000/", "token": "stored"}`)
	if err := os.WriteFile(filepath.Join(folder, ".splitrail", "client.json"), stored, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(inner)
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for _, test := range []struct{ name, url, token, wantURL, wantToken string }{
		{"a parent's file", "", "", "http://127.0.0.1:9000", "stored"},
		{"the environment", "https://example.org", "given", "https://example.org", "given"},
		{"the file's address with another token", "", "given", "http://127.0.0.1:9000", "given"},
		{"never the file's token for another address", "https://example.org", "", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv(splitrail.URLVariable, test.url)
			t.Setenv(splitrail.TokenVariable, test.token)
			found, err := splitrail.FindConnection()
			if test.wantURL == "" {
				if err == nil {
					t.Fatalf("found %v", found)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if token, _ := found.Tokens.Token(t.Context()); found.URL != test.wantURL || token != test.wantToken {
				t.Errorf("found %s with %s", found.URL, token)
			}
		})
	}
}
