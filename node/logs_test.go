package node

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/ipfs/go-log/v2"
	"go.uber.org/zap/zapcore"
)

func TestRouteLogs(t *testing.T) {
	var out bytes.Buffer
	RouteLogs(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo})))
	t.Cleanup(func() { log.SetupLogging(log.GetConfig()) })

	logger := log.Logger("node-test")
	logger.Errorw("it broke", "cid", "bafy")
	logger.Errorf("walk: %v", t.Context().Err())
	logger.Error("walk: context canceled")
	logger.Debug("detail")

	got := out.String()
	for _, want := range []string{"level=WARN", `msg="it broke"`, "logger=node-test", "cid=bafy"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	for _, hidden := range []string{"context canceled", "detail"} {
		if strings.Contains(got, hidden) {
			t.Errorf("%q tells of %q", got, hidden)
		}
	}
}

func TestLogLevels(t *testing.T) {
	for zap, want := range map[zapcore.Level]slog.Level{
		zapcore.DebugLevel: slog.LevelDebug, zapcore.InfoLevel: slog.LevelDebug, zapcore.WarnLevel: slog.LevelWarn,
		zapcore.ErrorLevel: slog.LevelWarn, zapcore.FatalLevel: slog.LevelError,
	} {
		if got := slogLevel(zap); got != want {
			t.Errorf("%s becomes %s, want %s", zap, got, want)
		}
	}
}
