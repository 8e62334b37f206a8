export function staleFiles(root: string): string[];
export function removeStaleFiles(root: string): string[];
export function isCurrent(root: string, stamp: string): boolean;
export function linkCommand(root: string): void;
