/** One process at a time in a directory that is no run's: the same lock file, for whoever fills it. */
import { nodeDisk } from "./disk.js";
import { releaseLock, takeLock } from "./lock.js";

/** Takes `directory`'s lock; call what it answers to give it back. @throws UserError while another process holds it */
export function holdDirectory(directory: string, since: string): () => void {
  takeLock(nodeDisk, directory, since, "directory");
  return () => releaseLock(nodeDisk, directory);
}
