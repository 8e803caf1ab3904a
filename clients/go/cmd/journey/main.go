// The journey of a Go program through Splitrail, run by the tests of all clients: import a folder, split it, train, watch
// the training through an outage, fetch a plot, evaluate on test, and meet a refusal. Each step prints one line of JSON.
//
// SPLITRAIL_URL and SPLITRAIL_TOKEN say where and as whom; JOURNEY_FOLDER is the folder to import and JOURNEY_DATASET
// the dataset to make of it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	splitrail "splitrail.dev/clients/go"
	metricsv1 "splitrail.dev/clients/go/splitrail/metrics/v1"
	splitv1 "splitrail.dev/clients/go/splitrail/split/v1"
	trainerv1 "splitrail.dev/clients/go/splitrail/trainer/v1"
)

type line map[string]any

func say(step string, fields line) error {
	fields["step"] = step
	return json.NewEncoder(os.Stdout).Encode(fields)
}

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	if err := journey(ctx); err != nil {
		log.Fatal(err)
	}
}

func journey(ctx context.Context) error {
	// [connect]
	connection, err := splitrail.FindConnection()
	if err != nil {
		return err
	}
	conn, err := splitrail.Dial(connection)
	if err != nil {
		return err
	}
	defer conn.Close()
	// [/connect]
	version, err := importFolder(ctx, conn, os.Getenv("JOURNEY_FOLDER"), os.Getenv("JOURNEY_DATASET"))
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	splitID, err := split(ctx, conn, version)
	if err != nil {
		return fmt.Errorf("split: %w", err)
	}
	runID, err := train(ctx, conn, splitID, "journey-go-"+version.GetVersionId())
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	if err := follow(ctx, conn, runID); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	if err := plot(ctx, conn, runID); err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	if err := evaluate(ctx, conn, runID); err != nil {
		return fmt.Errorf("evaluation: %w", err)
	}
	if err := refused(ctx, conn, splitID); err != nil {
		return fmt.Errorf("refusal: %w", err)
	}
	return say("done", line{})
}

func importFolder(ctx context.Context, conn *grpc.ClientConn, folder, dataset string) (*splitv1.DatasetVersion, error) {
	// [import]
	result, err := splitrail.ImportFolder(ctx, conn, folder, dataset, &splitrail.ImportOptions{RequestID: "journey-go-" + dataset})
	if err != nil {
		return nil, err
	}
	version := result.Import.GetVersion()
	// [/import]
	return version, say("import", line{
		"dataset_id": version.GetDatasetId(), "version_id": version.GetVersionId(),
		"images": version.GetImageCount(), "uploads": result.Uploads,
	})
}

func split(ctx context.Context, conn *grpc.ClientConn, version *splitv1.DatasetVersion) (string, error) {
	// [split]
	created, err := splitv1.NewSplitServiceClient(conn).CreateSplit(ctx, &splitv1.CreateSplitRequest{
		DatasetId: version.GetDatasetId(),
		VersionId: version.GetVersionId(),
		Parameters: &splitv1.SplitParameters{
			Ratios: &splitv1.SplitRatios{Train: 0.7, Val: 0.15, Test: 0.15},
			Seed:   42,
		},
	})
	// [/split]
	if err != nil {
		return "", err
	}
	revision := created.GetSplit()
	return revision.GetSplitId(), say("split", line{"split_id": revision.GetSplitId(), "digest": revision.GetDigest()})
}

func train(ctx context.Context, conn *grpc.ClientConn, splitID, requestID string) (string, error) {
	// [run]
	arguments, err := structpb.NewStruct(map[string]any{
		"epochs": 4, "imgsz": 64, "batch": 8, "seed": 1,
	})
	if err != nil {
		return "", err
	}
	request := &trainerv1.CreateRunRequest{
		SplitId:   splitID,
		Model:     "yolov8n",
		Arguments: arguments.GetFields(),
		RequestId: requestID, // a second call with it returns the same run
	}
	runs := trainerv1.NewRunServiceClient(conn)
	created, err := runs.CreateRun(ctx, request)
	// [/run]
	if err != nil {
		return "", err
	}
	again, err := runs.CreateRun(ctx, request)
	if err != nil {
		return "", err
	}
	runID := created.GetRun().GetRunId()
	return runID, say("run", line{"run_id": runID, "same": again.GetRun().GetRunId() == runID})
}

func follow(ctx context.Context, conn *grpc.ClientConn, runID string) error {
	interruptions := 0
	// [watch]
	options := &splitrail.WatchOptions{
		OnInterruption: func(err error, pause time.Duration) {
			interruptions++
			log.Printf("interrupted (%v), again in %s", err, pause)
		},
		OnRestart: func(*splitrail.Refusal) {
			log.Print("the feed was restored from a backup: what was shown is void")
		},
	}
	for message, err := range splitrail.Watch(ctx, conn, runID, options) {
		if err != nil {
			return err
		}
		if epoch := message.GetEvent().GetEpoch(); epoch != nil {
			log.Printf("epoch %d of %d: mAP50 %.3f", epoch.GetEpoch(), epoch.GetEpochs(), epoch.GetMetrics()["mAP50"])
			if err := say("epoch", line{"epoch": epoch.GetEpoch(), "seq": message.GetEvent().GetSeq()}); err != nil {
				return err
			}
		}
	}
	// [/watch]
	run, err := trainerv1.NewRunServiceClient(conn).GetRun(ctx, &trainerv1.GetRunRequest{RunId: runID})
	if err != nil {
		return err
	}
	if job := run.GetRun().GetJob(); job.GetMessage() != "" {
		log.Printf("the run ended as %s: %s", job.GetState(), job.GetMessage())
	}
	return say("closed", line{"interruptions": interruptions})
}

func plot(ctx context.Context, conn *grpc.ClientConn, runID string) error {
	// [plot]
	listed, err := metricsv1.NewMetricsServiceClient(conn).ListPlots(ctx, &metricsv1.ListPlotsRequest{RunId: runID})
	if err != nil {
		return err
	}
	if len(listed.GetPlots()) == 0 {
		return errors.New("the run has no plot")
	}
	plot := listed.GetPlots()[0]
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, plot.GetUrl(), nil) // signed: no token
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	picture, err := io.ReadAll(answer.Body)
	// [/plot]
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK || int64(len(picture)) != plot.GetSizeBytes() {
		return fmt.Errorf("%s: %s with %d of %d bytes", plot.GetName(), answer.Status, len(picture), plot.GetSizeBytes())
	}
	return say("plot", line{"name": plot.GetName(), "bytes": len(picture)})
}

func evaluate(ctx context.Context, conn *grpc.ClientConn, runID string) error {
	// [evaluate]
	evaluations := trainerv1.NewEvaluationServiceClient(conn)
	created, err := evaluations.CreateEvaluation(ctx, &trainerv1.CreateEvaluationRequest{
		RunId: runID, Part: splitv1.Part_PART_TEST, RequestId: "journey-go-" + runID,
	})
	if err != nil {
		return err
	}
	evaluationID := created.GetEvaluation().GetEvaluationId()
	for _, err := range splitrail.Watch(ctx, conn, evaluationID, nil) { // an evaluation has a feed too
		if err != nil {
			return err
		}
	}
	ended, err := evaluations.GetEvaluation(ctx, &trainerv1.GetEvaluationRequest{EvaluationId: evaluationID})
	if err != nil {
		return err
	}
	result := ended.GetEvaluation().GetResult()
	// [/evaluate]
	if result == nil {
		return fmt.Errorf("%s: %s", ended.GetEvaluation().GetJob().GetState(), ended.GetEvaluation().GetJob().GetMessage())
	}
	return say("evaluation", line{
		"evaluation_id": evaluationID, "images": result.GetImages(), "mAP50": result.GetOverall()["mAP50"],
	})
}

func refused(ctx context.Context, conn *grpc.ClientConn, splitID string) error {
	// [refusal]
	_, err := trainerv1.NewRunServiceClient(conn).CreateRun(ctx, &trainerv1.CreateRunRequest{
		SplitId:   splitID,
		Model:     "yolov8n",
		Arguments: map[string]*structpb.Value{"epohcs": structpb.NewNumberValue(4)},
	})
	refusal, ok := splitrail.AsRefusal(err)
	if !ok {
		return fmt.Errorf("no refusal: %w", err)
	}
	log.Printf("%s: %v", refusal.Reason, refusal.Fields)
	// [/refusal]
	if len(refusal.Fields) != 1 {
		return fmt.Errorf("%d fields are named: %w", len(refusal.Fields), err)
	}
	return say("refusal", line{"code": code.Code(refusal.Code).String(), "reason": refusal.Reason, "field": refusal.Fields[0].Field})
}
