package grandstand

import (
	"errors"
	"fmt"
)

// Code says what kind of trouble an Error is. Each transport has one table
// from Code to its own status (HTTP status, WebSocket close code).
type Code string

// The codes of every error that leaves a role. They appear as "code" in the
// JSON body of HTTP errors and of the WebSocket message "error".
const (
	CodeInvalid      Code = "invalid"
	CodeUnauthorized Code = "unauthorized"
	CodeForbidden    Code = "forbidden"
	CodeNotFound     Code = "not_found"
	CodeConflict     Code = "conflict"
	CodeTooLarge     Code = "too_large"
	CodeRateLimited  Code = "rate_limited"
	CodeUnavailable  Code = "unavailable"
	CodeInternal     Code = "internal"
)

// Error is the one error type of the system that a caller outside may see.
// Message is written for that caller and holds no ids, tokens or addresses;
// Err is the cause, for the log.
type Error struct {
	Code    Code
	Message string
	Err     error
}

// Errorf returns an Error of the code whose message is formatted like
// fmt.Sprintf.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// WrapError returns an Error of the code with a message for the caller and the
// cause for the log.
func WrapError(code Code, err error, message string) *Error {
	return &Error{Code: code, Message: message, Err: err}
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of the first Error in err's chain, and CodeInternal
// if there is none. It returns "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// MessageOf returns what a caller outside may be told about err.
func MessageOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Message
	}
	return "something went wrong on our side"
}
