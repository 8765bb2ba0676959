package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// A source that fails is left alone for firstBackOff, doubling to
	// maxBackOff; one that answers 429 or 503 for as long as it says, at most
	// maxRetryAfter; one that lied for lieBackOff.
	firstBackOff  = 500 * time.Millisecond
	maxBackOff    = 10 * time.Second // less than a reader waits, or it never asks again
	busyBackOff   = 5 * time.Second
	maxRetryAfter = 5 * time.Minute
	lieBackOff    = 10 * time.Minute

	carType = "application/vnd.ipld.car"
	rawType = "application/vnd.ipld.raw"
)

// How a source can fail. An absence is no fault of it.
var (
	errAbsent    = errors.New("it does not have it")
	errLied      = errors.New("it sent bytes that are not what the CID says")
	errTruncated = errors.New("its answer ended before everything had come")
	errExcess    = errors.New("it sent more than was asked for")
	errSilent    = errors.New("it sent nothing")
	errIdle      = errors.New("it stopped sending")
	errInVain    = errors.New("it sent for a while, and no block that was wanted")
	errIncapable = errors.New("it does not send CARs of a byte range")
)

// busyError is the answer of a source that wants to be left alone for a while.
type busyError struct {
	status string
	wait   time.Duration
}

func (e *busyError) Error() string {
	return fmt.Sprintf("%s, asked to wait %s", e.status, e.wait.Round(time.Second))
}

// supplier is a source that answers the requests of the trustless gateway: an HTTP
// gateway, or a peer. It is safe for concurrent use.
type supplier struct {
	peer  string // its ID, "" for what is no peer
	name  string // for people: the host or the peer ID, without credentials
	label string // for metrics
	// order is which of the sources not known to have a DAG is asked first.
	order  int
	base   string // the URL before /ipfs/
	client *http.Client
	// prober has connections of its own, for those of client may all wait; nil
	// for what is no gateway.
	prober *http.Client
	// authorize adds what a request needs besides; nil means nothing.
	authorize func(*http.Request) error

	received atomic.Int64 // bytes, for anybody, without the blocks that nobody wanted

	mu       sync.Mutex
	streams  int
	rate     float64       // bytes a second, of late; 0 if not known
	wait     time.Duration // the least that it took to answer; 0 if not known
	failures int           // in a row
	until    time.Time     // it is left alone after a failure; an answer ends that
	banned   time.Time     // the same after a lie, or because it said so; no answer ends that
	rawOnly  bool
}

// usable reports whether the source may be asked at a time.
func (s *supplier) usable(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !now.Before(s.until) && !now.Before(s.banned)
}

// compare orders sources that are equally likely to have something.
func (s *supplier) compare(other *supplier) int {
	streams, rate := s.load()
	otherStreams, otherRate := other.load()
	if d := cmp.Compare(s.order, other.order); d != 0 && (rate == 0 || otherRate == 0) {
		return d
	}
	if rate == 0 || otherRate == 0 {
		return cmp.Compare(streams, otherStreams)
	}
	return cmp.Compare(float64(streams+1)/rate, float64(otherStreams+1)/otherRate)
}

func (s *supplier) load() (streams int, rate float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams, s.rate
}

func (s *supplier) opened() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams++
}

// closed notes how a stream ended, which brought bytes in a time.
func (s *supplier) closed(bytes int64, took time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams--
	if bytes > 64<<10 && took > 0 {
		rate := float64(bytes) / took.Seconds()
		if s.rate > 0 {
			rate = 1 / (0.7/s.rate + 0.3/rate) // of the times: a link that has become slow is seen at once
		}
		s.rate = rate
	}
	end := time.Now().Add(s.backOff(err))
	switch {
	case !bans(err):
		s.until = end
	case end.After(s.banned):
		s.banned = end
	}
}

// bans reports whether an error is a reason to leave the source alone however its
// other streams do.
func bans(err error) bool {
	var busy *busyError
	return errors.Is(err, errLied) || errors.As(err, &busy)
}

// answered notes how long the first byte of an answer took.
func (s *supplier) answered(took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wait == 0 || took < s.wait {
		s.wait = took
	}
}

// isNear reports whether the source has answered sooner than near.
func (s *supplier) isNear() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wait > 0 && s.wait < near
}

// inFlight is how many bytes come in the time of an answer.
func (s *supplier) inFlight() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(s.rate * s.wait.Seconds())
}

// backOff is how long to leave the source alone after an error. It needs s.mu.
func (s *supplier) backOff(err error) time.Duration {
	var busy *busyError
	switch {
	case err == nil, errors.Is(err, errAbsent), errors.Is(err, errTruncated):
		s.failures = 0
		return 0
	case errors.Is(err, errIncapable), errors.Is(err, errExcess):
		s.rawOnly = true
		return 0
	case errors.Is(err, errLied):
		return lieBackOff
	case errors.As(err, &busy):
		return busy.wait
	}
	// What was under way when it began to fail fails with it, and is one failure.
	if !time.Now().Before(s.until) {
		s.failures++
	}
	return min(firstBackOff<<min(max(s.failures-1, 0), 10), maxBackOff)
}

func (s *supplier) onlyRaw() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rawOnly
}

// get asks for what query says, of one media type. The caller closes the body.
func (s *supplier) get(ctx context.Context, query, accept string) (io.ReadCloser, error) {
	req, err := s.request(ctx, query, accept)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, plain(err)
	}
	if err := judge(resp, accept); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp.Body, nil
}

func (s *supplier) request(ctx context.Context, query, accept string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+query, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", userAgent)
	if s.authorize != nil {
		err = s.authorize(req)
	}
	return req, err
}

// judge says what is wrong with the head of an answer.
func judge(resp *http.Response, accept string) error {
	status := "HTTP " + resp.Status
	switch resp.StatusCode {
	case http.StatusOK:
		kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
		wanted, _, _ := strings.Cut(accept, ";")
		if strings.EqualFold(strings.TrimSpace(kind), wanted) {
			return nil
		}
		return incapable(accept, fmt.Sprintf("it answered with the type %.80q", kind))
	case http.StatusNotFound, http.StatusGone, http.StatusUnavailableForLegalReasons:
		return fmt.Errorf("%w: %s", errAbsent, status)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return &busyError{status, retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	case http.StatusBadRequest, http.StatusNotAcceptable, http.StatusUnsupportedMediaType, http.StatusNotImplemented:
		return incapable(accept, status)
	}
	return errors.New(status)
}

// incapable says that a source does not send CARs: one that does not send single
// blocks either is of no use, and has failed like any other.
func incapable(accept, why string) error {
	if accept == rawType {
		return errors.New(why)
	}
	return fmt.Errorf("%w: %s", errIncapable, why)
}

// retryAfter reads a header that is seconds or a date.
func retryAfter(header string, now time.Time) time.Duration {
	wait := busyBackOff
	if seconds, err := strconv.ParseUint(header, 10, 32); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if date, err := http.ParseTime(header); err == nil {
		wait = date.Sub(now)
	}
	return min(max(wait, firstBackOff), maxRetryAfter)
}

// userAgent tells who asks, and nothing of where it runs.
const userAgent = "ipfs-registry (+https://github.com/ipfs-registry/ipfs-registry)"

// plain takes the URL off an error of the HTTP client: it may have credentials.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
