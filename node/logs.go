package node

import (
	"context"
	"log/slog"
	"strings"

	"github.com/ipfs/go-log/v2"
	"go.uber.org/zap/zapcore"
)

// RouteLogs sends what Kubo and libp2p log to log instead of stderr. It holds
// for the whole process, as their logging does, so it is for main to call, once
// and first. Their errors become warnings: none of them ends anything of ours.
// GOLOG_LOG_LEVEL says, as with Kubo, how much they log; by default, errors.
func RouteLogs(to *slog.Logger) { log.SetPrimaryCore(slogCore{to}) }

// slogCore is an end of zap's pipeline that is a slog.Logger.
type slogCore struct{ log *slog.Logger }

func (c slogCore) Enabled(l zapcore.Level) bool {
	return c.log.Enabled(context.Background(), slogLevel(l))
}

func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{c.log.With(attributes(fields)...)}
}

func (c slogCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slogLevel(e.Level)
	if strings.Contains(e.Message, context.Canceled.Error()) {
		level = slog.LevelDebug // it was stopped, as it should
	}
	c.log.With("logger", e.LoggerName).Log(context.Background(), level, e.Message, attributes(fields)...)
	return nil
}

func (c slogCore) Sync() error { return nil }

func slogLevel(l zapcore.Level) slog.Level {
	switch {
	case l > zapcore.ErrorLevel:
		return slog.LevelError
	case l >= zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

func attributes(fields []zapcore.Field) []any {
	encoder := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(encoder)
	}
	var args []any
	for name, value := range encoder.Fields {
		args = append(args, name, value)
	}
	return args
}
