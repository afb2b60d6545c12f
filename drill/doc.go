// Package drill finds out whether a deployment carries a multiple of its audience:
// it sends a crowd, and judges what the crowd saw and what the processes say of
// themselves.
//
//	          base ─ramp─▶ peak ─hold─▶ ─ramp─▶ base
//	crowd (simulator) ──WebSockets──▶ gateways
//	      │ Report                        ┊ /metrics of all roles, every 2 s
//	      ▼                               ▼
//	   objectives ──────▶ Verdict ◀── what saturates first
//
// What cannot be seen is neither passed nor failed: it says why.
//
// In: addresses of gateways and, if they are to be looked at, of the admin ports of
// all processes.
//
// Out: load, and a Verdict of one page.
package drill
