package pitch

import (
	"os/exec"
	"syscall"
)

// dieTogether ends the child if this process is killed: nobody else would.
func dieTogether(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
