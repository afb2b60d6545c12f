package journal

import (
	"testing"

	"pgregory.net/rapid"
)

// TestAnAckCoversOnlyWhatIsDurable compares Acks with what an ack promises,
// whatever a client sends in whatever order.
func TestAnAckCoversOnlyWhatIsDurable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a Acks
		state := map[uint64]string{} // of each event that was carried: pending, refused, durable
		var queue []uint64           // accepted, in order
		last := int64(-1)
		refusing := rapid.Uint64Range(1, 10).Draw(t, "refusing one in")
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "send") {
				seq := rapid.Uint64Range(0, 200).Draw(t, "seq")
				a.Carry(seq)
				if rapid.Uint64Range(1, refusing).Draw(t, "accept") == 1 && refusing > 1 {
					a.Refuse(seq)
					if state[seq] == "" {
						state[seq] = "refused"
					}
					continue
				}
				queue = append(queue, seq)
				if state[seq] != "durable" {
					state[seq] = "pending"
				}
				continue
			}
			n := rapid.IntRange(0, len(queue)).Draw(t, "committed")
			for _, seq := range queue[:n] {
				a.Durable(seq)
				state[seq] = "durable"
			}
			queue = queue[n:]
			ack, ok := a.Next()
			if !ok {
				continue
			}
			if int64(ack) <= last {
				t.Fatalf("ack %d after %d", ack, last)
			}
			last = int64(ack)
			for seq, is := range state {
				if seq <= ack && is != "durable" {
					t.Fatalf("ack %d, but %d is %s", ack, seq, is)
				}
			}
			if len(a.held) > maxHeld {
				t.Fatalf("%d are held", len(a.held))
			}
		}
	})
}

func TestAcksOfAWellBehavedClient(t *testing.T) {
	var a Acks
	for seq := range uint64(1000) {
		a.Carry(seq)
	}
	for seq := range uint64(1000) {
		a.Durable(seq)
		if n, ok := a.Next(); !ok || n != seq {
			t.Fatalf("after %d: ack %d, %v", seq, n, ok)
		}
		if _, ok := a.Next(); ok {
			t.Fatalf("after %d: the same ack twice", seq)
		}
	}
	if a.held != nil {
		t.Error("something was remembered for it")
	}
}

// TestARefusedEventHoldsAcksBack until it was sent again.
func TestARefusedEventHoldsAcksBack(t *testing.T) {
	var a Acks
	for seq := uint64(1); seq <= 3; seq++ {
		a.Carry(seq)
	}
	a.Refuse(2)
	a.Durable(1)
	a.Durable(3)
	if n, ok := a.Next(); !ok || n != 1 {
		t.Fatalf("ack %d, %v", n, ok)
	}
	a.Carry(2)
	if _, ok := a.Next(); ok {
		t.Fatal("an ack before it is durable")
	}
	a.Durable(2)
	if n, ok := a.Next(); !ok || n != 3 {
		t.Fatalf("ack %d, %v", n, ok)
	}
}

func TestMoreRefusalsThanAreRemembered(t *testing.T) {
	var a Acks
	for seq := uint64(1); seq <= 200; seq++ {
		a.Carry(seq)
		if seq > 100 {
			a.Refuse(seq)
		} else {
			a.Durable(seq)
		}
	}
	for seq := uint64(101); seq <= 200; seq++ {
		a.Carry(seq)
		a.Durable(seq)
	}
	if n, ok := a.Next(); !ok || n != 100+maxHeld {
		t.Fatalf("ack %d, %v", n, ok)
	}
}
