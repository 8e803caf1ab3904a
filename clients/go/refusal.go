package splitrail

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// FieldViolation is a field of the request and what is wrong with it.
type FieldViolation struct {
	// Field is its path: arguments.epochs, assets[3].sha256.
	Field string
	// Description is for people.
	Description string
}

// Refusal is an error that a service or the gateway gave on purpose: one with an ErrorInfo. Branch on Reason, never on
// Message.
type Refusal struct {
	Code    codes.Code
	Message string
	// Reason is a value of splitrail.errors.v1.ErrorReason without its prefix: INVALID_FIELD, NOT_FOUND, ...
	Reason string
	// Metadata is what the comment of that value promises.
	Metadata map[string]string
	// Fields is set for INVALID_FIELD.
	Fields []FieldViolation
	// RetryAfter is how long to wait before trying again; 0: not said.
	RetryAfter time.Duration

	cause error
}

// Error gives the message and the fields.
func (r *Refusal) Error() string {
	var fields []string
	for _, violation := range r.Fields {
		fields = append(fields, violation.Field+": "+violation.Description)
	}
	text := fmt.Sprintf("%s (%s, %s)", r.Message, code.Code(r.Code), r.Reason)
	if len(fields) > 0 {
		text += ": " + strings.Join(fields, "; ")
	}
	return text
}

// Unwrap gives the error of the call, for package status.
func (r *Refusal) Unwrap() error { return r.cause }

// AsRefusal decodes the error of a call. It returns nil and false for an error without ErrorInfo: that one comes from the
// transport, and the call may be repeated.
func AsRefusal(err error) (*Refusal, bool) {
	var already *Refusal
	if errors.As(err, &already) {
		return already, true
	}
	answer, ok := status.FromError(err)
	if !ok || err == nil {
		return nil, false
	}
	refusal, informed := &Refusal{Code: answer.Code(), Message: answer.Message(), cause: err}, false
	for _, detail := range answer.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			informed = true
			refusal.Reason, refusal.Metadata = detail.GetReason(), detail.GetMetadata()
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				refusal.Fields = append(refusal.Fields, FieldViolation{violation.GetField(), violation.GetDescription()})
			}
		case *errdetails.RetryInfo:
			refusal.RetryAfter = detail.GetRetryDelay().AsDuration()
		}
	}
	if !informed {
		return nil, false
	}
	return refusal, true
}
