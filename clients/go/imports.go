package splitrail

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	splitv1 "splitrail.dev/clients/go/splitrail/split/v1"
)

const (
	filesPerRequest     = 1000
	inlinePerRequest    = 1 << 20 // of the 4 MiB that a request takes
	maxInlineBytes      = 16384
	uploadsAtOnce       = 8
	uploadTries         = 6
	longestUploadPause  = 10 * time.Second
	uploadTimeout       = time.Minute
	maxRefusalTextBytes = 1024
)

var (
	imageEndings      = []string{".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
	annotationEndings = []string{".txt", ".xml", ".json", ".yaml", ".yml", ".names", ".labels"}
)

// ImportOptions of ImportFolder.
type ImportOptions struct {
	// Project; default `default`.
	Project string
	// Task that the annotations are for; default: boxes.
	Task splitv1.Task
	// RequestID of the import: the same one returns, and so resumes, the same import. Default: a new import.
	RequestID string
	// HTTP sends the files; default http.DefaultClient.
	HTTP *http.Client
	// OnProgress is told each time that the import changes while the service works on it.
	OnProgress func(*splitv1.Import)
	// Patience with interruptions.
	Patience Patience
}

// ImportResult is an import that succeeded, and how many files had to be uploaded for it.
type ImportResult struct {
	Import  *splitv1.Import
	Uploads int
}

// ImportError is an import that failed or was cancelled; Import.Problems says why.
type ImportError struct{ Import *splitv1.Import }

func (e *ImportError) Error() string {
	text := fmt.Sprintf("the import ended as %s: %s", e.Import.GetState(), e.Import.GetFailure())
	if problems := e.Import.GetProblems(); len(problems) > 0 {
		text += fmt.Sprintf(" (%s: %s)", problems[0].GetPath(), problems[0].GetMessage())
	}
	return text
}

// ImportFolder imports a folder of images and annotations as a new version of a dataset: it announces every image and
// annotation file, uploads what the platform lacks by presigned URL, starts the import and watches it to its end.
// Hidden files and what no import reads are left out; links are not followed.
func ImportFolder(ctx context.Context, conn grpc.ClientConnInterface, folder, dataset string, options *ImportOptions) (*ImportResult, error) {
	if options == nil {
		options = &ImportOptions{}
	}
	files, err := scan(folder)
	if err != nil {
		return nil, err
	}
	client := splitv1.NewImportServiceClient(conn)
	created, err := client.CreateImport(ctx, &splitv1.CreateImportRequest{
		ProjectId: options.Project, DatasetName: dataset, RequestId: options.RequestID, Task: options.Task,
	})
	if err != nil {
		return nil, err
	}
	current, uploads := created.GetDatasetImport(), 0
	id := current.GetImportId()
	if current.GetState() == splitv1.ImportState_IMPORT_STATE_OPEN {
		sender := &sender{client: client, http: options.HTTP, folder: folder, importID: id, sent: map[string]bool{}}
		if sender.http == nil {
			sender.http = http.DefaultClient
		}
		if err := sender.send(ctx, files); err != nil {
			return nil, err
		}
		uploads = len(sender.sent)
		if _, err := client.StartImport(ctx, &splitv1.StartImportRequest{ImportId: id}); err != nil {
			return nil, err
		}
	}
	current, err = watchImport(ctx, client, id, options)
	if err != nil {
		return nil, err
	}
	if current.GetState() != splitv1.ImportState_IMPORT_STATE_SUCCEEDED {
		return nil, &ImportError{current}
	}
	return &ImportResult{current, uploads}, nil
}

// watchImport returns the import when it has ended.
func watchImport(ctx context.Context, client splitv1.ImportServiceClient, id string, options *ImportOptions) (*splitv1.Import, error) {
	var last *splitv1.Import
	watched := stream[splitv1.WatchImportResponse]{
		open: func(ctx context.Context) (grpc.ServerStreamingClient[splitv1.WatchImportResponse], error) {
			return client.WatchImport(ctx, &splitv1.WatchImportRequest{ImportId: id})
		},
		take: func(message *splitv1.WatchImportResponse) (bool, error) {
			last = message.GetDatasetImport()
			if options.OnProgress != nil {
				options.OnProgress(last)
			}
			switch last.GetState() {
			case splitv1.ImportState_IMPORT_STATE_SUCCEEDED, splitv1.ImportState_IMPORT_STATE_FAILED, splitv1.ImportState_IMPORT_STATE_CANCELLED:
				return true, errStopped
			default:
				return false, nil // each opening repeats the state
			}
		},
		patience: options.Patience,
	}
	return last, watched.follow(ctx)
}

// file is one that is sent; of a small annotation file the content too.
type file struct {
	path, sha256 string
	size         int64
	content      []byte
}

// scan hashes every image and annotation file of a folder, by path.
func scan(folder string) ([]file, error) {
	var files []file
	images := 0
	err := filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.HasPrefix(entry.Name(), ".") && name != folder {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		ending := strings.ToLower(path.Ext(entry.Name()))
		isImage, isAnnotation := slices.Contains(imageEndings, ending), slices.Contains(annotationEndings, ending)
		if !entry.Type().IsRegular() || !(isImage || isAnnotation) {
			return nil
		}
		relative, err := filepath.Rel(folder, name)
		if err != nil {
			return err
		}
		item, err := read(name, filepath.ToSlash(relative), isAnnotation)
		if err != nil {
			return err
		}
		if isImage {
			images++
		}
		files = append(files, item)
		return nil
	})
	if err == nil && images == 0 {
		err = fmt.Errorf("%s holds no image (looked for %s)", folder, strings.Join(imageEndings, ", "))
	}
	return files, err
}

func read(name, relative string, isAnnotation bool) (file, error) {
	opened, err := os.Open(name)
	if err != nil {
		return file{}, err
	}
	defer opened.Close()
	hash := sha256.New()
	var small bytes.Buffer
	size, err := io.Copy(io.MultiWriter(hash, &prefix{&small}), opened)
	if err != nil {
		return file{}, err
	}
	item := file{path: relative, sha256: hex.EncodeToString(hash.Sum(nil)), size: size}
	if isAnnotation && size <= maxInlineBytes {
		item.content = small.Bytes()
		if item.content == nil {
			item.content = []byte{}
		}
	}
	return item, nil
}

// prefix keeps the first bytes written to it.
type prefix struct{ kept *bytes.Buffer }

func (p *prefix) Write(piece []byte) (int, error) {
	p.kept.Write(piece[:min(len(piece), maxInlineBytes-p.kept.Len())])
	return len(piece), nil
}

// sender announces the files of one import and uploads what is asked for.
type sender struct {
	client   splitv1.ImportServiceClient
	http     *http.Client
	folder   string
	importID string
	sent     map[string]bool
}

func (s *sender) send(ctx context.Context, files []file) error {
	for len(files) > 0 {
		count, inline := 0, 0
		for count < min(len(files), filesPerRequest) && inline+len(files[count].content) <= inlinePerRequest {
			inline += len(files[count].content)
			count++
		}
		if err := s.page(ctx, files[:count]); err != nil {
			return err
		}
		files = files[count:]
	}
	return nil
}

func (s *sender) page(ctx context.Context, files []file) error {
	uploads, err := s.announce(ctx, files)
	if err != nil {
		return err
	}
	byContent := map[string]file{}
	for _, item := range files {
		byContent[item.sha256] = item
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	slots := make(chan struct{}, uploadsAtOnce)
	for _, upload := range uploads {
		if s.sent[upload.GetSha256()] {
			continue
		}
		s.sent[upload.GetSha256()] = true
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			if err := s.upload(ctx, byContent[upload.GetSha256()], upload.GetUrl()); err != nil {
				cancel(err) // the first one counts, and ends the others
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

func (s *sender) announce(ctx context.Context, files []file) ([]*splitv1.Upload, error) {
	request := &splitv1.AddFilesRequest{ImportId: s.importID}
	for _, item := range files {
		request.Files = append(request.Files, &splitv1.SourceFile{
			Path: item.path, Sha256: item.sha256, SizeBytes: item.size, Content: item.content,
		})
	}
	answer, err := s.client.AddFiles(ctx, request)
	return answer.GetUploads(), err
}

// upload puts one file, and tries again while the object store cannot: safe, since the same bytes go to the same key.
func (s *sender) upload(ctx context.Context, item file, url string) error {
	for try := 0; ; try++ {
		again, err := s.put(ctx, item, url)
		if err == nil || !again || try+1 == uploadTries {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(jittered(Patience{FirstPause: 200 * time.Millisecond, LongestPause: longestUploadPause}, try)):
		}
		fresh, err := s.announce(ctx, []file{item}) // the URL may have expired, or the bytes may have arrived after all
		if err != nil || len(fresh) == 0 {
			return err
		}
		url = fresh[0].GetUrl()
	}
}

func (s *sender) put(ctx context.Context, item file, url string) (again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, uploadTimeout)
	defer cancel()
	opened, err := os.Open(filepath.Join(s.folder, filepath.FromSlash(item.path)))
	if err != nil {
		return false, err
	}
	defer opened.Close()
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, url, opened)
	if err != nil {
		return false, err
	}
	request.ContentLength = item.size // a presigned PUT takes no chunked body
	if item.size == 0 {
		request.Body = http.NoBody
	}
	answer, err := s.http.Do(request)
	if err != nil {
		return true, err
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxRefusalTextBytes))
	if err = errors.Join(err, answer.Body.Close()); err != nil {
		return true, err
	}
	if answer.StatusCode < 300 {
		return false, nil
	}
	again = answer.StatusCode >= 500 || slices.Contains([]int{http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests}, answer.StatusCode)
	return again, fmt.Errorf("the object store does not take %s: %s: %s", item.path, answer.Status, text)
}
