package env

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// stand is an environment that is not Real, but works like it.
type stand struct {
	Real
	outcomes map[[32]byte]bool
}

func (s stand) Recall(sum [32]byte, check func() bool) bool {
	if _, ok := s.outcomes[sum]; !ok {
		s.outcomes[sum] = check()
	}
	return s.outcomes[sum]
}

func TestOf(t *testing.T) {
	ctx := context.Background()
	if got := With(ctx, Real{}); got != ctx {
		t.Error("a context that has been told of the real environment is another, want it as it was")
	}
	if _, real := Of(ctx).(Real); !real {
		t.Errorf("Of an ordinary context is %T, want Real", Of(ctx))
	}
	s := stand{outcomes: map[[32]byte]bool{}}
	if _, ok := Of(With(ctx, s)).(stand); !ok {
		t.Errorf("Of a context that has been told is %T, want what it was told", Of(With(ctx, s)))
	}
}

func TestWithTimeout(t *testing.T) {
	for _, e := range []Env{Real{}, stand{}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := WithTimeout(e, context.Background(), time.Second)
			defer cancel()
			began := time.Now()
			<-ctx.Done()
			if took := time.Since(began); took != time.Second || !errors.Is(Err(ctx), context.DeadlineExceeded) {
				t.Errorf("%T: it ended after %v with %v, want 1s and a missed deadline", e, took, Err(ctx))
			}
			ctx, cancel = WithTimeout(e, context.Background(), time.Second)
			if Err(ctx) != nil {
				t.Errorf("%T: before its end it says %v", e, Err(ctx))
			}
			cancel()
			if !errors.Is(Err(ctx), context.Canceled) {
				t.Errorf("%T: it was cancelled and says %v", e, Err(ctx))
			}
		})
	}
}

func TestWaitTakesOneToken(t *testing.T) {
	a, b := make(chan struct{}, 1), make(chan struct{}, 1)
	b <- struct{}{}
	if got := (Real{}).Wait(a, b, nil); got != 1 || len(b) != 0 {
		t.Errorf("Wait returned %d and left %d tokens, want 1 and none", got, len(b))
	}
}

func TestLock(t *testing.T) {
	l, held := NewLock(), 0
	done := make(chan struct{})
	for range 8 {
		go func() {
			defer func() { done <- struct{}{} }()
			for range 1000 {
				l.Acquire(Real{})
				if held++; held != 1 {
					t.Error("two hold the lock")
				}
				held--
				l.Release()
			}
		}()
	}
	for range 8 {
		<-done
	}
}

func TestCheckedRemembers(t *testing.T) {
	s := stand{outcomes: map[[32]byte]bool{}}
	ctx := With(context.Background(), s)
	calls := 0
	check := func() bool { calls++; return calls == 1 }
	parts := [][]byte{[]byte("ab"), []byte("c")}
	for range 2 {
		if !Checked(ctx, check, parts...) {
			t.Error("a check that was passed is not remembered as passed")
		}
	}
	if calls != 1 {
		t.Errorf("the same parts were checked %d times, want once", calls)
	}
	if Checked(ctx, check, []byte("a"), []byte("bc")) {
		t.Error("other parts of the same bytes have the outcome of the first")
	}
	if Checked(context.Background(), check, parts...) || calls != 3 {
		t.Error("in production an outcome is remembered")
	}
}
