package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ipld/go-car/v2"
	"golang.org/x/sync/errgroup"
)

const (
	// maxIdle is how long a source may send nothing in the middle of an answer.
	maxIdle = 10 * time.Second
	// maxExtra is how much an answer may have that is not, or no longer, wanted:
	// the inner nodes that every part of a file brings along.
	maxExtra     = 8 << 20
	maxCARHeader = 16 << 10
	// brokenCAR is how boxo begins the text that follows the blocks when it has
	// no more of them: no CAR goes on like this.
	brokenCAR  = "\n\n"
	maxCIDSize = 512
	// maxRaw is how many blocks are asked for one by one at once.
	maxRaw = 8
)

// stream asks a source for what of the job has not come, by single blocks if that
// is all that it may have, and takes in what it sends.
func (j *job) stream(s *supplier, single bool) error {
	sp, all := j.open()
	defer j.close()
	if len(all) == 0 {
		return nil
	}
	s.opened()
	j.trail.asked(s)
	w := j.watch(s)
	var err error
	if single || sp.to == 0 || s.onlyRaw() {
		err = j.blocks(w)
	} else {
		err = j.car(w, sp)
	}
	said := err
	if err = w.end(err); !bans(err) && (j.ctx.Err() != nil || j.isGuess()) {
		err = nil // it was us who ended it, or asked for what may not be there
		switch {
		case w.inVain():
			j.trail.failed(s, errInVain)
		case w.bytes == 0:
			j.trail.ended(s, time.Since(w.begun), said)
		}
	}
	s.closed(w.useful(), time.Since(w.first), err)
	j.supply.log.Debug("asked a source", "source", s.name, "for", sp.query(), "begun", w.begun, "wait", w.first.Sub(w.begun),
		"took", time.Since(w.begun), "bytes", w.bytes, "error", err)
	if err != nil {
		j.trail.failed(s, err)
		j.supply.metrics.failed(s.label)
	}
	return err
}

// car asks for a span.
func (j *job) car(w *watch, sp span) error {
	query := sp.query()
	if w.source == j.leader {
		query += "&" + relayQuery + "=" + j.trail.dag.String()
	}
	body, err := w.source.get(w.ctx, query, carType+"; version=1; order=dfs; dups=n")
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	limit := sp.to - sp.from + 2*maxBlock + maxExtra
	return j.readCAR(w, &io.LimitedReader{R: w.over(body), N: limit})
}

// readCAR takes in the blocks of a CAR. Which of them are wanted follows from
// those before; that all of them come is for us to see.
func (j *job) readCAR(w *watch, body *io.LimitedReader) error {
	r := bufio.NewReaderSize(body, 64<<10)
	blocks, err := car.NewBlockReader(r, car.WithTrustedCAR(true),
		car.MaxAllowedHeaderSize(maxCARHeader), car.MaxAllowedSectionSize(maxBlock+maxCIDSize))
	if err != nil {
		return fmt.Errorf("read the CAR: %w", err)
	}
	extra := 0
	for !j.complete() {
		if next, _ := r.Peek(len(brokenCAR)); string(next) == brokenCAR {
			return errTruncated
		}
		b, err := blocks.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			if body.N <= 0 {
				return errExcess
			}
			return errTruncated
		}
		if err != nil {
			return fmt.Errorf("read the CAR: %w", err)
		}
		taken, err := j.takeFrom(w, b.Cid(), b.RawData())
		if err != nil {
			return err
		}
		if !taken {
			extra += len(b.RawData())
		}
		if extra > maxExtra {
			return errExcess
		}
	}
	// What is left is the end: read, it leaves the connection for the next.
	_, _ = io.CopyN(io.Discard, body, 4<<10)
	return nil
}

// blocks asks for the blocks one by one.
func (j *job) blocks(w *watch) error {
	for !j.complete() {
		_, all := j.rest()
		group, ctx := errgroup.WithContext(w.ctx)
		group.SetLimit(maxRaw)
		for _, wanted := range all {
			group.Go(func() error { return j.block(ctx, w, wanted) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) block(ctx context.Context, w *watch, wanted wanted) error {
	body, err := w.source.get(ctx, "/ipfs/"+wanted.cid.String()+"?format=raw", rawType)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	data, err := io.ReadAll(io.LimitReader(w.over(body), maxBlock+1))
	if err != nil {
		return err
	}
	if len(data) > maxBlock {
		return errLied
	}
	_, err = j.takeFrom(w, wanted.cid, data)
	return err
}

// complete reports whether nothing of the job is missing.
func (j *job) complete() bool {
	j.supply.mu.Lock()
	defer j.supply.mu.Unlock()
	return len(j.flights)+len(j.awaited) == 0
}

// isGuess reports whether it may be that nobody has what the job asks for.
func (j *job) isGuess() bool {
	j.supply.mu.Lock()
	defer j.supply.mu.Unlock()
	return j.guess
}
