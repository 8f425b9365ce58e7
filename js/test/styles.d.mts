export function style(part: string): string;
