package splitrail_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	splitrail "splitrail.dev/clients/go"
	splitv1 "splitrail.dev/clients/go/splitrail/split/v1"
)

// importServer takes one import, whose uploads go to a store that refuses each file once.
type importServer struct {
	splitv1.UnimplementedImportServiceServer
	store *httptest.Server

	mutex   sync.Mutex
	stored  map[string][]byte
	refused map[string]bool
	files   map[string]*splitv1.SourceFile
	watches int
	ends    splitv1.ImportState
}

func (s *importServer) put(answer http.ResponseWriter, request *http.Request) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	content, err := io.ReadAll(request.Body)
	switch {
	case err != nil || request.ContentLength != int64(len(content)):
		answer.WriteHeader(http.StatusLengthRequired)
	case !s.refused[request.URL.Path]:
		s.refused[request.URL.Path] = true
		answer.WriteHeader(http.StatusServiceUnavailable)
	default:
		s.stored[request.URL.Path[1:]] = content
	}
}

func (s *importServer) CreateImport(context.Context, *splitv1.CreateImportRequest) (*splitv1.CreateImportResponse, error) {
	return &splitv1.CreateImportResponse{DatasetImport: &splitv1.Import{ImportId: "an-import", State: splitv1.ImportState_IMPORT_STATE_OPEN}}, nil
}

func (s *importServer) AddFiles(_ context.Context, request *splitv1.AddFilesRequest) (*splitv1.AddFilesResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	answer := &splitv1.AddFilesResponse{}
	for _, item := range request.GetFiles() {
		s.files[item.GetPath()] = item
		if _, stored := s.stored[item.GetSha256()]; item.Content == nil && !stored {
			answer.Uploads = append(answer.Uploads, &splitv1.Upload{Sha256: item.GetSha256(), Url: s.store.URL + "/" + item.GetSha256()})
		}
	}
	return answer, nil
}

func (s *importServer) StartImport(context.Context, *splitv1.StartImportRequest) (*splitv1.StartImportResponse, error) {
	return &splitv1.StartImportResponse{}, nil
}

func (s *importServer) WatchImport(_ *splitv1.WatchImportRequest, stream grpc.ServerStreamingServer[splitv1.WatchImportResponse]) error {
	s.watches++
	if s.watches == 1 {
		running := &splitv1.Import{State: splitv1.ImportState_IMPORT_STATE_RUNNING}
		return errors.Join(stream.Send(&splitv1.WatchImportResponse{DatasetImport: running}), status.Error(codes.Internal, "cut"))
	}
	return stream.Send(&splitv1.WatchImportResponse{DatasetImport: &splitv1.Import{State: s.ends, Failure: "as planned"}})
}

func startImportServer(t *testing.T, ends splitv1.ImportState) (*importServer, *grpc.ClientConn) {
	t.Helper()
	server := &importServer{stored: map[string][]byte{}, refused: map[string]bool{}, files: map[string]*splitv1.SourceFile{}, ends: ends}
	server.store = httptest.NewServer(http.HandlerFunc(server.put))
	t.Cleanup(server.store.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	running := grpc.NewServer()
	splitv1.RegisterImportServiceServer(running, server)
	go func() { _ = running.Serve(listener) }() // its error says that it was stopped
	t.Cleanup(running.Stop)
	return server, dial(t, listener.Addr().String())
}

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestImportFolder(t *testing.T) {
	server, conn := startImportServer(t, splitv1.ImportState_IMPORT_STATE_SUCCEEDED)
	root := folder(t, map[string]string{
		"data.yaml": "names: [cell]", "images/a.jpg": "one", "images/b.jpg": "two", "images/again.jpg": "one",
		"labels/a.txt": "", ".hidden/c.jpg": "three", "model.pt": "weights",
	})
	result, err := splitrail.ImportFolder(t.Context(), conn, root, "cells", nil)
	if err != nil {
		t.Fatal(err)
	}
	if result.Uploads != 2 || len(server.stored) != 2 || len(server.files) != 5 {
		t.Errorf("%d uploads, stored %v, announced %v", result.Uploads, server.stored, server.files)
	}
	for sha, content := range server.stored {
		if digest := sha256.Sum256(content); hex.EncodeToString(digest[:]) != sha {
			t.Errorf("%s holds %q", sha, content)
		}
	}
	if content := server.files["labels/a.txt"].Content; content == nil {
		t.Error("an empty label file did not come along")
	}
}

func TestAFailedImportIsAnError(t *testing.T) {
	_, conn := startImportServer(t, splitv1.ImportState_IMPORT_STATE_FAILED)
	var failed *splitrail.ImportError
	_, err := splitrail.ImportFolder(t.Context(), conn, folder(t, map[string]string{"a.jpg": "one"}), "cells", nil)
	if !errors.As(err, &failed) || failed.Import.GetFailure() != "as planned" {
		t.Errorf("%v", err)
	}
}

func TestAFolderWithoutImagesIsAnError(t *testing.T) {
	if _, err := splitrail.ImportFolder(t.Context(), nil, folder(t, map[string]string{"a.txt": "one"}), "cells", nil); err == nil {
		t.Error("imported")
	}
}
